"""One worker process, whole but in this process: from a spec and a store to a version and what it tells its agent."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from training_runs import publish_digits, training_run

from windlass_core.contracts import TrainRun, VersionReference
from windlass_core.registry import Registry
from windlass_core.store import Store
from windlass_train import export, trainer, worker
from windlass_train.reports import Outcome, Reports
from windlass_train.runs import RunFolder

pytestmark = pytest.mark.timeout(180)  # the exporters import for seconds, once

QUICK: dict[str, Any] = {"recipe": "logistic", "stop": {"epochs": 2}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file://{tmp_path_factory.mktemp('worker')}/store"


@pytest.fixture(scope="module")
def store(url: str) -> Store:
    return Store.open("default", {"WINDLASS_STORE_URL": url})


@pytest.fixture(scope="module")
def digits(store: Store, tmp_path_factory: pytest.TempPathFactory) -> VersionReference:
    return publish_digits(store, tmp_path_factory.mktemp("digits"), rows=400)


@pytest.fixture(autouse=True)
def _alone(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What torch elastic sets for the only worker of a group; logs go where they went afterwards."""
    for name, value in {"WINDLASS_STORE_URL": url, "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.captureWarnings(False)


def work(run: TrainRun, folder: Path) -> Outcome:
    """What the worker leaves for its agent; its exit code is the one it ends with."""
    code: object = 0
    try:
        worker.main(run.to_json_text(), str(folder))
    except SystemExit as end:
        code = end.code
    [outcome] = Reports(folder).outcomes()
    assert outcome.exit_code == code
    return outcome


def test_a_run_ends_with_a_version_and_without_checkpoints(digits: VersionReference, store: Store, tmp_path: Path) -> None:
    run = training_run(digits, uid="whole", **QUICK)
    outcome = work(run, tmp_path)
    published = Registry(store, "models").find("digits", "whole")
    assert published is not None
    assert outcome.exit_code == 0
    assert outcome.result.model is not None
    assert outcome.result.model.version == published.reference
    assert outcome.result.model.metrics.keys() == {"accuracy", "macroF1", "logLoss"}
    folder = RunFolder(store, run.name, "whole")
    assert list(store.list(folder.checkpoints)) == []
    assert folder.description().uid == "whole"
    progress = Reports(tmp_path).progress()
    assert progress is not None
    assert (progress.phase, progress.step, progress.eta_seconds) == ("Publishing", outcome.result.model.step, None)


def test_a_model_that_onnx_runtime_answers_otherwise_is_published_with_the_cause(
    digits: VersionReference, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", 0.0)  # so that the last bit of a sum counts
    outcome = work(training_run(digits, uid="disagrees", **QUICK), tmp_path)
    assert (outcome.exit_code, outcome.result.reason) == (0, "Published")
    assert outcome.result.model is not None
    assert outcome.result.model.formats == ["safetensors", "torch.export"]
    [omitted] = outcome.result.model.omitted
    assert (omitted.format, omitted.reason) == ("onnx", "OnnxDisagrees")
    published = Registry(store, "models").open("digits", outcome.result.model.version.version)
    assert published.manifest.model is not None
    assert published.manifest.model.omitted == [omitted]


def out_of_memory(*_: object) -> None:
    raise trainer.torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")


def gpu_failed(*_: object) -> None:
    raise trainer.torch.AcceleratorError("CUDA error: uncorrectable ECC error\nMore.")


def peer_lost(*_: object) -> None:
    raise RuntimeError("[/x/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer.\nMore.")


def unforeseen(*_: object) -> None:
    raise ZeroDivisionError("division by zero")


ENDS: dict[str, tuple[Callable[..., None], int, str, str]] = {
    "the GPU's memory is short": (out_of_memory, 40, "GpuOutOfMemory", "lower model.parameters.batchSize (CUDA out of memory."),
    "the GPU fails": (gpu_failed, 43, "BadDevice", "the GPU failed while training: CUDA error: uncorrectable ECC error"),
    "another worker is lost": (peer_lost, 1, "PeerLost", "that worker's own end says why ([/x/third_party/gloo"),
    "nobody foresaw it": (unforeseen, 1, "InternalError", "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize(("fails", "code", "reason", "sentence"), ENDS.values(), ids=ENDS.keys())
def test_a_worker_ends_with_a_code_and_a_sentence_when(
    fails: Callable[..., None],
    code: int,
    reason: str,
    sentence: str,
    digits: VersionReference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "row_losses", fails)
    outcome = work(training_run(digits, uid=reason, **QUICK), tmp_path)
    assert (outcome.exit_code, outcome.result.outcome, outcome.result.reason) == (code, "Failed", reason)
    assert sentence in outcome.result.message
    assert "\n" not in outcome.result.message
    assert Reports(tmp_path).outcomes() == [outcome]


def test_a_recipe_that_does_not_fit_is_told_of_before_the_worker_meets_the_others(
    digits: VersionReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # and nobody whom it could meet
    outcome = work(training_run(digits, uid="unfit", recipe="linear"), tmp_path)
    assert (outcome.exit_code, outcome.result.reason) == (40, "RecipeDoesNotFit")


def test_a_worker_that_is_asked_to_stop_saves_and_says_so(digits: VersionReference, tmp_path: Path) -> None:
    run = training_run(digits, uid="stopped", **QUICK)
    Reports(tmp_path).request_stop()
    outcome = work(run, tmp_path)
    assert (outcome.exit_code, outcome.result.outcome, outcome.result.reason) == (44, "Stopped", "Stopped")
    assert "is saved at step 1" in outcome.result.message


@pytest.mark.parametrize(
    ("of_pod", "processes", "threads"),
    [
        pytest.param({}, 1, 1, id="one where the pod says nothing"),
        pytest.param({"OMP_NUM_THREADS": "4"}, 1, 4, id="all of the pod"),
        pytest.param({"OMP_NUM_THREADS": "8"}, 4, 2, id="a share where the pod runs several processes"),
        pytest.param({"OMP_NUM_THREADS": "1"}, 4, 1, id="one at the least"),
    ],
)
def test_the_threads_that_a_worker_computes_with_are(of_pod: dict[str, str], processes: int, threads: int) -> None:
    assert worker.thread_count(of_pod, processes=processes) == threads
