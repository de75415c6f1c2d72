"""A version trained anew uses the figures of the one before, and whatever was different measures; its answers are its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windlass_core.errors import BadData
from windlass_core.manifests import SAMPLE_INPUT, SAMPLE_OUTPUT
from windlass_core.registry import PublishedVersion
from windlass_infer.engines import selection
from windlass_infer.engines.candidates import EngineChoice
from windlass_infer.engines.figures import RECORDED, Circumstances, Figure, Figures
from windlass_infer.engines.selection import Selection, Selector

ROWS = np.array([[1, 2, 3], [3, 2, 1], [0, 0, 1], [5, -5, 0.5]], dtype=np.float32)
MEASURED = "which is as large"


class Measuring:
    """Stands for the trials: every candidate agrees, each is twice as fast as the one before; counts."""

    def __init__(self) -> None:
        self.times = 0
        self.failure: str | None = None

    def __call__(
        self, candidates: Any, _programs: Any, _signature: Any, _sample: Any, where: Circumstances, _folder: Any
    ) -> Figures:
        self.times += 1
        engines = [
            Figure(variant=candidate.variant, rows_per_second={1: 100 * 2**place}, difference=1e-6)
            for place, candidate in enumerate(candidates)
        ]
        if self.failure:
            engines[-1] = Figure(variant=engines[-1].variant, failure=self.failure)
        return Figures(circumstances=where, reference=RECORDED, seconds=0.1, engines=engines)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Measuring:
    stand_in = Measuring()
    monkeypatch.setattr(selection, "compete", stand_in)
    return stand_in


@pytest.fixture
def make(shelf: Any, examples: dict[str, Any]) -> Any:
    """Publishes a version of NUMBERS by an owner of its own, whose answers are recorded; `right` says whether they are."""

    def made(owner: str, *, right: bool = True, sample: bool = True, **replaced: Any) -> PublishedVersion:
        if sample:
            shares = np.exp(ROWS - ROWS.max(axis=1, keepdims=True))
            answers = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
            folder = shelf.work / owner
            folder.mkdir(parents=True)
            recorded = answers if right else answers[:, ::-1]
            np.savez(folder / "sample.npz", **{f"{SAMPLE_INPUT}features": ROWS, f"{SAMPLE_OUTPUT}probabilities": recorded})
            replaced["sample"] = "sample.npz"
        version: PublishedVersion = shelf.publish(examples["numbers"], owner, **replaced)
        return version

    return made


def select(version: PublishedVersion, folder: Path, loss: float | None = None) -> Selection:
    content = version.manifest.model
    assert content is not None
    folder.mkdir()
    choice = EngineChoice(loss=loss)
    return Selector(version, content, choice, folder, lambda rows: {"features": np.resize(ROWS, (rows, 3))}).select()


def test_a_version_trained_anew_is_not_measured_and_says_whose_figures_it_goes_by(
    make: Any, measuring: Measuring, tmp_path: Path
) -> None:
    first, second, third = make("first"), make("second"), make("third")
    measured = select(first, tmp_path / "first")
    assert MEASURED not in measured.reasons[measured.engine.variant]
    for version in (second, third):
        chosen = select(version, tmp_path / str(version.reference.version))
        assert (chosen.engine.variant, chosen.figure) == (measured.engine.variant, measured.figure)
        assert f"(measured on version 1, {MEASURED})" in chosen.reasons[chosen.engine.variant]
        [path] = [entry.path for entry in version.store.list(f"{version.folder}/engines")]
        kept = Figures.model_validate_json(version.store.read(path))
        assert (kept.measured_on, kept.circumstances.digest) == (1, version.reference.digest)
    assert measuring.times == 1


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param({}, {"parameters": 7}, id="has another number of weights"),
        pytest.param({}, {"recipe": "cnn"}, id="is of another recipe"),
        pytest.param({}, {"sample": False}, id="has no recorded answers to compare with"),
        pytest.param({"formats": {"onnx": "model.onnx", "safetensors": "model.onnx"}}, {}, id="has other formats"),
    ],
)
def test_a_version_is_measured_that(
    make: Any, measuring: Measuring, tmp_path: Path, before: dict[str, Any], now: dict[str, Any]
) -> None:
    select(make("first", **before), tmp_path / "first")
    select(make("second", **now), tmp_path / "second")
    assert measuring.times == 2


def test_a_version_is_measured_whose_program_is_larger(make: Any, measuring: Measuring, tmp_path: Path) -> None:
    first = make("first")
    select(first, tmp_path / "first")
    # An unknown field of protobuf, which readers pass over: number 1000, length-delimited, 100 bytes.
    larger = first.read("model.onnx") + b"\xc2\x3e\x64" + bytes(100)
    select(make("second", program=larger), tmp_path / "second")
    assert measuring.times == 2


def test_a_version_is_measured_when_an_engine_failed_on_the_one_before(make: Any, measuring: Measuring, tmp_path: Path) -> None:
    measuring.failure = "its weights are no numbers"
    select(make("first"), tmp_path / "first")
    select(make("second"), tmp_path / "second")
    assert measuring.times == 2


def test_figures_for_another_loss_are_not_used(make: Any, measuring: Measuring, tmp_path: Path) -> None:
    select(make("first"), tmp_path / "first")
    select(make("second"), tmp_path / "second", loss=0.1)
    assert measuring.times == 2


@pytest.mark.usefixtures("measuring")
def test_no_engine_serves_by_figures_of_another_version_that_answers_wrongly(make: Any, tmp_path: Path) -> None:
    select(make("first"), tmp_path / "first")
    with pytest.raises(BadData, match="differs by"):
        select(make("second", right=False), tmp_path / "second")
