"""Training: it learns real data, goes on exactly where it stopped, and a share of the rows weighs what it should."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from training_runs import publish_table, training_run

from windlass_core.contracts import TrainRun, VersionReference
from windlass_core.errors import BadConfiguration, Stopped
from windlass_core.store import Store
from windlass_train.checkpoint import Checkpoints
from windlass_train.data import load
from windlass_train.evaluate import evaluate_on_test
from windlass_train.group import Group
from windlass_train.objective import row_losses
from windlass_train.pace import Pace
from windlass_train.recipes import build_module
from windlass_train.runs import RunFolder
from windlass_train.sampler import share
from windlass_train.trainer import Trained, Trainer, fingerprint

Reported = list[dict[str, Any]]


def trainer_of(
    store: Store, run: TrainRun, *, stop: Callable[[], bool] = lambda: False, told: Reported | None = None
) -> Trainer:
    folder = RunFolder(store, run.name, run.uid)
    return Trainer(
        spec=run.spec,
        data=load(store, run.dataset),
        group=Group(),
        checkpoints=Checkpoints(store, folder.checkpoints, keep=run.spec.checkpoint.keep, fingerprint=fingerprint(run)),
        folder=folder,
        report=lambda **fields: told.append(fields) if told is not None else None,
        stop_requested=stop,
    )


def train(store: Store, run: TrainRun, **options: Any) -> Trained:
    return trainer_of(store, run, **options).train()


@pytest.mark.parametrize(
    ("recipe", "spec", "least"),
    [
        pytest.param("logistic", {"parameters": {"learningRate": 0.01}}, 0.94, id="logistic regression"),
        pytest.param("mlp", {}, 0.96, id="an mlp with its defaults"),
        pytest.param("mlp", {"parameters": {"optimizer": "sgd"}}, 0.96, id="an mlp by SGD with its defaults"),
        pytest.param("mlp", {"parameters": {"clipNorm": 1.0, "dropout": 0.2}}, 0.96, id="an mlp with clipping and dropout"),
        pytest.param("cnn", {"stop": {"epochs": 8}}, 0.96, id="a cnn"),
    ],
)
def test_handwritten_digits_are_learned(
    data_store: Store, digits: VersionReference, recipe: str, spec: dict[str, Any], least: float, request: pytest.FixtureRequest
) -> None:
    run = training_run(digits, recipe=recipe, uid=f"learned-{abs(hash(request.node.callspec.id))}", **spec)
    trained = train(data_store, run)
    figures = evaluate_on_test(load(data_store, run.dataset), trained.module)
    assert figures["accuracy"] >= least
    assert figures["macroF1"] >= least - 0.02


@pytest.mark.parametrize("recipe", ["linear", "mlp"])
def test_a_quantity_is_learned_in_its_own_unit(data_store: Store, diabetes: VersionReference, recipe: str) -> None:
    spec: dict[str, Any] = {"parameters": {"learningRate": 0.01}, "stop": {"epochs": 60, "patience": 10}}
    run = training_run(diabetes, recipe=recipe, uid=f"quantity-{recipe}", **spec)
    data = load(data_store, run.dataset)
    assert data.test is not None
    least_squares = LinearRegression().fit(data.train.features, data.train.targets)
    missed = (least_squares.predict(data.test.features) - data.test.targets.numpy()) * data.problem.scale
    figures = evaluate_on_test(data, train(data_store, run).module)
    assert figures["rmse"] < 1.1 * float(np.sqrt((missed**2).mean()))


@pytest.fixture(scope="module")
def small(data_store: Store, tmp_path_factory: pytest.TempPathFactory) -> VersionReference:
    random = np.random.default_rng(1)
    features = random.normal(size=(125, 6))
    labels = (features[:, 0] + 0.5 * random.normal(size=125) > 0).astype(np.int64)
    shares = {"train": 0.8, "validation": 0.2, "test": 0.0}
    return publish_table(data_store, tmp_path_factory.mktemp("small"), "small", features, labels, classes=True, shares=shares)


# 100 rows in batches of 16 are 7 updates a pass, the last of 4 rows.
SMALL: dict[str, Any] = {
    "parameters": {"batchSize": 16, "hidden": [8], "dropout": 0.3, "learningRate": 0.02},
    "stop": {"epochs": 4, "patience": 2},
    "checkpoint": {"every": 5},
}


def same(left: Trained, right: Trained) -> bool:
    a, b = left.module.state_dict(), right.module.state_dict()
    return left.step == right.step and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def unstopped(data_store: Store, small: VersionReference) -> Trained:
    trained = train(data_store, training_run(small, uid="unstopped", **SMALL))
    assert trained.step == 28
    return trained


@pytest.fixture
def agrees_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a request to stop is heard after the very next update."""
    monkeypatch.setattr(Pace, "due", property(lambda _: True))


@pytest.mark.usefixtures("agrees_always")
@pytest.mark.parametrize("interrupted", range(1, 28))
def test_a_run_that_was_stopped_at_any_step_ends_with_the_weights_of_one_that_was_not(
    data_store: Store, small: VersionReference, unstopped: Trained, interrupted: int
) -> None:
    run = training_run(small, uid=f"stopped-{interrupted}", **SMALL)
    steps = iter(range(1, 1000))
    with pytest.raises(Stopped, match=f"saved at step {interrupted}"):
        train(data_store, run, stop=lambda: next(steps) == interrupted)
    assert same(train(data_store, run), unstopped)


@pytest.mark.usefixtures("agrees_always")
def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(data_store: Store, small: VersionReference) -> None:
    whole = train(data_store, training_run(small, uid="unkilled", **SMALL))
    run = training_run(small, uid="killed", **SMALL)

    class KilledError(Exception):
        pass

    steps = iter(range(1, 1000))

    def die() -> bool:
        if next(steps) == 7:  # the members agree after each update here, so this is the 7th
            raise KilledError
        return False

    with pytest.raises(KilledError):
        train(data_store, run, stop=die)
    told: Reported = []
    assert same(train(data_store, run, told=told), whole)
    assert told[0]["checkpoint"].step == 5


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_weights(data_store: Store, small: VersionReference, seed: int) -> None:
    spec = SMALL | {"parameters": SMALL["parameters"] | {"seed": seed}}
    first = train(data_store, training_run(small, uid=f"first-{seed}", **spec))
    second = train(data_store, training_run(small, uid=f"second-{seed}", **spec))
    other = train(data_store, training_run(small, uid=f"other-{seed}", **SMALL | {"parameters": {"seed": 7, "hidden": [8]}}))
    assert same(first, second)
    assert not same(first, other)


def test_a_run_without_progress_on_validation_ends_with_its_best_weights(data_store: Store, small: VersionReference) -> None:
    spec = SMALL | {
        "stop": {"epochs": 200, "patience": 3},
        "parameters": {"batchSize": 16, "learningRate": 0.1, "hidden": [64]},
    }
    run = training_run(small, uid="impatient", **spec)
    trained = train(data_store, run)
    points = [point for point in RunFolder(data_store, run.name, run.uid).points() if point.split == "validation"]
    losses = [point.loss for point in points]
    best = losses.index(min(losses))
    assert trained.step < 200 * 7
    assert len(losses) == best + 1 + 3
    data = load(data_store, run.dataset)
    assert data.validation is not None
    with torch.no_grad():
        loss = row_losses(data.problem, trained.module(data.validation.features), data.validation.targets).mean()
    assert float(loss) == pytest.approx(losses[best], rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        pytest.param({"stop": {"epochs": 3}}, 21, id="epochs"),
        pytest.param({"stop": {"epochs": 3, "steps": 10}}, 10, id="steps that end within a pass"),
        pytest.param({"stop": {"epochs": 1, "steps": 10}}, 7, id="whichever comes first"),
    ],
)
def test_a_run_ends_when_it_was_told_to(data_store: Store, small: VersionReference, spec: dict[str, Any], steps: int) -> None:
    run = training_run(small, uid=f"ends-{steps}", **SMALL | spec)
    told: Reported = []
    assert train(data_store, run, told=told).step == steps
    assert told[-1]["step"] == told[-1]["steps"] == steps
    assert train(data_store, run).step == steps  # what ended is not trained again


@pytest.mark.parametrize("world_size", [2, 3, 5, 16, 20])
@pytest.mark.parametrize("rows", [16, 4], ids=["a full batch", "the short batch at the end of a pass"])
def test_the_gradient_is_that_of_one_worker_however_rows_are_shared_out(
    data_store: Store, small: VersionReference, world_size: int, rows: int
) -> None:
    run = training_run(small, parameters={"hidden": [8]})
    data = load(data_store, run.dataset)
    batch = np.arange(rows)

    def gradient(rank: int, members: int) -> torch.Tensor:
        """What one member gives to the all-reduce: as in Trainer._update."""
        torch.manual_seed(0)
        module = build_module(data.problem, run.spec.model)
        mine = share(batch, rank=rank, world_size=members)
        weight, taken = (1.0, mine) if len(mine) else (0.0, batch[:1])
        features, targets = data.train.take(taken, torch.device("cpu"))
        loss = weight * row_losses(data.problem, module(features), targets).sum() * members / rows
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.cat([parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None])

    shared = sum(gradient(rank, world_size) for rank in range(world_size)) / world_size
    torch.testing.assert_close(shared, gradient(0, 1), rtol=1e-5, atol=1e-7)


def test_progress_tells_all_that_people_want_to_know(data_store: Store, small: VersionReference) -> None:
    told: Reported = []
    train(data_store, training_run(small, uid="told", **SMALL), told=told)
    last: dict[str, Any] = {}
    for fields in told:
        last |= fields
    assert last["phase"] == "Training"
    assert last["step"] == last["steps"] == 28
    assert last["epoch"] == 4
    assert 0 < last["loss"] < 1
    assert last["samples_per_second"] > 0
    assert last["eta_seconds"] == 0
    assert last["checkpoint"].step == 28


REFUSED = {
    "a learning rate that makes the loss infinite": (
        "linear",
        {"parameters": {"optimizer": "sgd", "learningRate": 10}, "stop": {"epochs": 100}},
        "LossDiverged",
        "lower model.parameters.learningRate",
    ),
    "a recipe for another task": ("logistic", {}, "RecipeDoesNotFit", "use one of linear, mlp, cnn"),
}


@pytest.mark.parametrize(("recipe", "spec", "reason", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_trained_says_why(
    data_store: Store, diabetes: VersionReference, recipe: str, spec: dict[str, Any], reason: str, sentence: str
) -> None:
    with pytest.raises(BadConfiguration, match=sentence) as raised:
        train(data_store, training_run(diabetes, recipe=recipe, uid=f"refused-{reason}", **spec))
    assert raised.value.reason == reason


def test_patience_needs_a_validation_split(data_store: Store, tmp_path: Path) -> None:
    shares = {"train": 1.0, "validation": 0.0, "test": 0.0}
    labels = np.arange(20) % 2
    dataset = publish_table(data_store, tmp_path, "unvalidated", np.ones((20, 2)), labels, classes=True, shares=shares)
    with pytest.raises(BadConfiguration, match=r"stop\.patience needs a validation split"):
        train(data_store, training_run(dataset, stop={"patience": 3}))
