"""Choosing on this machine: measured once, kept beside the version, read by the next pod, and right in any case."""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windlass_core.errors import BadData, Unavailable
from windlass_core.manifests import SAMPLE_INPUT, SAMPLE_OUTPUT
from windlass_core.registry import PublishedVersion
from windlass_infer.engines import selection, tournament
from windlass_infer.engines.candidates import EngineChoice
from windlass_infer.engines.figures import RECORDED, Circumstances, Figure, Figures
from windlass_infer.engines.machine import Machine, this_machine
from windlass_infer.engines.selection import Selection, Selector

AUTO = EngineChoice()

pytestmark = pytest.mark.timeout(240)  # processes that import for seconds on a busy machine
ROWS = np.array([[1, 2, 3], [3, 2, 1], [0, 0, 1], [5, -5, 0.5]], dtype=np.float32)


def answers(rows: Any) -> Any:
    """What the example NUMBERS answers: it is a softmax of its features."""
    shares = np.exp(rows - rows.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def publish(shelf: Any, examples: dict[str, Any]) -> Callable[..., PublishedVersion]:
    """A version of NUMBERS with a sample; `right` says whether its answers are."""

    def make(*, sample: bool = True, right: bool = True, **replaced: Any) -> PublishedVersion:
        if sample:
            arrays = {f"{SAMPLE_INPUT}features": ROWS, f"{SAMPLE_OUTPUT}probabilities": answers(ROWS if right else -ROWS)}
            folder = shelf.work / "uid-1"
            folder.mkdir(parents=True)
            np.savez(folder / "sample.npz", **arrays)
            replaced["sample"] = "sample.npz"
        version: PublishedVersion = shelf.publish(examples["numbers"], **replaced)
        return version

    return make


def select(version: PublishedVersion, folder: Path, choice: EngineChoice = AUTO, machine: Machine | None = None) -> Selection:
    content = version.manifest.model
    assert content is not None
    folder.mkdir(exist_ok=True)
    return Selector(version, content, choice, folder, lambda rows: {"features": np.resize(ROWS, (rows, 3))}, machine).select()


def sidecars(version: PublishedVersion) -> list[str]:
    return [entry.path for entry in version.store.list(f"{version.folder}/engines")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures without measuring: every candidate agrees, each is twice as fast as the one before."""

    def compete(candidates: Any, _programs: Any, _signature: Any, _sample: Any, where: Circumstances, _folder: Any) -> Figures:
        figures = [
            Figure(variant=candidate.variant, rows_per_second={1: 100 * 2**place}, difference=1e-6)
            for place, candidate in enumerate(candidates)
        ]
        return Figures(circumstances=where, reference=RECORDED, seconds=0.1, engines=figures)

    monkeypatch.setattr(selection, "compete", compete)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough on a machine where much else is tested."""
    monkeypatch.setattr(tournament, "TRIAL_SECONDS", 100.0)
    monkeypatch.setattr(tournament, "ALL_SECONDS", 100.0)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def compete(*_: object) -> Figures:
        pytest.fail("it is measured again")

    monkeypatch.setattr(selection, "compete", compete)


@pytest.mark.usefixtures("patient")
def test_the_candidates_are_measured_once_and_the_next_pod_starts_without(
    publish: Callable[..., PublishedVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish()
    first = select(version, tmp_path / "first")
    assert first.engine.variant in ("onnxruntime", "openvino")
    assert first.reference == RECORDED
    assert first.figure is not None
    assert first.figure.variant == first.engine.variant
    assert first.figure.seconds_per_batch > 0
    assert first.reasons[first.engine.variant].startswith("the fastest that agrees: rows/s by batch ")
    assert first.reasons["torch"] == "the version has no program of the format torch.export"
    [path] = sidecars(version)
    kept = Figures.model_validate_json(version.store.read(path))
    assert [figure.variant for figure in kept.engines] == ["onnxruntime", "openvino"]
    assert all(figure.failure is None and figure.difference is not None for figure in kept.engines)
    assert kept.circumstances.digest == version.reference.digest

    forbid(monkeypatch)
    again = select(version, tmp_path / "again")
    assert (again.engine.variant, again.figure, again.reasons) == (first.engine.variant, first.figure, first.reasons)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"cpu": "another CPU"}, id="another kind of CPU"),
        pytest.param({"flags": frozenset({"avx2"})}, id="other flags of the same CPU"),
        pytest.param({"libraries": {"onnxruntime": "0.1", "openvino": "0.1"}}, id="another release of an engine"),
    ],
)
def test_a_pod_in_other_circumstances_measures_again(
    publish: Callable[..., PublishedVersion], tmp_path: Path, change: dict[str, Any]
) -> None:
    version = publish()
    select(version, tmp_path / "here")
    select(version, tmp_path / "there", machine=replace(this_machine(), **change))
    assert len(sidecars(version)) == 2


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda _: b"{", "cannot be read", id="no JSON"),
        pytest.param(lambda data: data.replace(b'"variant"', b'"engine"'), "cannot be read", id="fields of another release"),
        pytest.param(lambda data: data.replace(b'"sha256:', b'"sha256:00'), "made for something else", id="another version"),
        pytest.param(lambda data: json.dumps(json.loads(data) | {"engines": []}).encode(), "something else", id="no engines"),
        pytest.param(lambda _: b" " * 300_000, "too large", id="something else altogether"),
    ],
)
def test_figures_that_are_broken_or_stale_are_ignored_with_a_warning(
    publish: Callable[..., PublishedVersion],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    says: str,
) -> None:
    version = publish()
    select(version, tmp_path / "first")
    [path] = sidecars(version)
    right = version.store.read(path)
    version.store.write(path, damage(right))
    with caplog.at_level(logging.WARNING):
        select(version, tmp_path / "second")
    assert any(says in record.getMessage() for record in caplog.records)
    assert Figures.model_validate_json(version.store.read(path)).circumstances.digest == version.reference.digest


@pytest.mark.usefixtures("quick")
def test_a_store_that_takes_no_figures_costs_a_warning_and_nothing_else(
    publish: Callable[..., PublishedVersion], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish()

    def refuse(*_: object) -> None:
        raise Unavailable("read only")

    monkeypatch.setattr(type(version.store), "write", refuse)
    assert select(version, tmp_path / "one").engine.variant in ("onnxruntime", "openvino")
    assert "could not be kept" in caplog.text


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_by_its_name_is_not_measured_but_compared(
    publish: Callable[..., PublishedVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any
) -> None:
    forbid(monkeypatch)
    version = publish()
    selected = select(version, tmp_path / "one", EngineChoice(engine))
    assert (selected.engine.name, selected.figure, selected.reference) == (engine, None, RECORDED)
    assert selected.reasons[engine] == "the only one that can run it here"
    np.testing.assert_allclose(selected.engine.run({"features": ROWS})["probabilities"], answers(ROWS), atol=1e-6)
    selected.engine.close()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("choice", [AUTO, EngineChoice("onnxruntime"), EngineChoice("openvino", 0.01)], ids=str)
def test_a_program_that_answers_otherwise_than_torch_did_is_never_served(
    publish: Callable[..., PublishedVersion], tmp_path: Path, choice: EngineChoice
) -> None:
    with pytest.raises(BadData, match=r"(differ|differs) by .* is tolerated") as failure:
        select(publish(right=False), tmp_path / "one", choice)
    assert failure.value.reason == "ModelLoadFailed"


@pytest.mark.usefixtures("patient")
def test_a_version_without_a_sample_is_compared_with_onnx_runtime(
    publish: Callable[..., PublishedVersion], tmp_path: Path
) -> None:
    assert select(publish(sample=False), tmp_path / "one").reference == "ONNX Runtime in float32, as it answers here"


@pytest.mark.usefixtures("quick")
def test_bfloat16_serves_only_where_a_loss_is_allowed(publish: Callable[..., PublishedVersion], tmp_path: Path) -> None:
    version = publish()
    machine = replace(this_machine(), flags=frozenset({"avx512_bf16"}))
    exact = select(version, tmp_path / "exact", AUTO, machine)
    lossy = select(version, tmp_path / "lossy", EngineChoice("auto", 0.05), machine)
    assert exact.reasons["openvino-bf16"] == "the spec allows no loss"
    assert (exact.engine.variant, lossy.engine.variant) == ("openvino", "openvino-bf16")
    np.testing.assert_allclose(lossy.engine.run({"features": ROWS})["probabilities"], answers(ROWS), atol=0.05)


@pytest.mark.usefixtures("quick")
def test_a_choice_that_turns_out_wrong_when_it_is_opened_gives_way_to_the_next(
    publish: Callable[..., PublishedVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = selection.open_engine

    def open_engine(variant: str, *rest: Any) -> Any:
        if variant == "openvino":
            raise ImportError("libopenvino.so: cannot open shared object file")
        return real(variant, *rest)

    monkeypatch.setattr(selection, "open_engine", open_engine)
    selected = select(publish(), tmp_path / "one")
    assert selected.engine.variant == "onnxruntime"
    assert selected.reasons["openvino"].startswith("openvino cannot be loaded: libopenvino.so")


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        pytest.param(b"no archive", "its sample cannot be read", id="no archive"),
        pytest.param({"input:features": ROWS}, "it must have as many rows of each of features, probabilities", id="no answers"),
        pytest.param(
            {"input:features": ROWS, "output:probabilities": answers(ROWS)[:2]}, "as many rows of each", id="too few answers"
        ),
        pytest.param({"input:features": np.array([{}], dtype=object)}, "its sample cannot be read", id="pickled objects"),
    ],
)
def test_a_sample_that_is_none_is_refused(
    shelf: Any, examples: dict[str, Any], tmp_path: Path, sample: bytes | dict[str, Any], says: str
) -> None:
    folder = shelf.work / "uid-1"
    folder.mkdir(parents=True)
    if isinstance(sample, bytes):
        (folder / "sample.npz").write_bytes(sample)
    else:
        np.savez(folder / "sample.npz", **sample)
    with pytest.raises(BadData, match=says):
        select(shelf.publish(examples["numbers"], sample="sample.npz"), tmp_path / "one", EngineChoice("onnxruntime"))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param("kill -ILL $$", "its process was ended by SIGILL", id="an instruction that the CPU does not have"),
        pytest.param("exit 3", "its process ended with code 3", id="an exit"),
        pytest.param("exec sleep 60", "it was not done after", id="a hang"),
    ],
)
def test_an_engine_that_ends_its_process_while_it_is_tried_ends_no_other(
    publish: Callable[..., PublishedVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    version = publish()
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(tournament, "TRIAL_SECONDS", 0.5)
    with pytest.raises(BadData, match=says):
        select(version, tmp_path / "one")
    # What was too late may be in time in the next pod; what ended by itself will again.
    assert bool(sidecars(version)) == (says != "it was not done after")


def test_no_engine_at_all_says_why_for_each(publish: Callable[..., PublishedVersion], tmp_path: Path) -> None:
    version = publish(formats={"torch.export": "model.pt2"})
    machine = replace(this_machine(), libraries={"onnxruntime": "1", "openvino": "2"})
    with pytest.raises(BadData) as failure:
        select(version, tmp_path / "one", machine=machine)
    assert "has the formats torch.export; no engine can run it here: " in failure.value.message
    assert "torch is not in this image (torch, torch-traced, torch-cuda)" in failure.value.message


@pytest.mark.usefixtures("patient")
def test_bytes_that_are_no_program_are_refused_by_every_engine_in_a_sentence(
    publish: Callable[..., PublishedVersion], tmp_path: Path
) -> None:
    with pytest.raises(BadData) as failure:
        select(publish(program=b"no program"), tmp_path / "one")
    assert (
        "no engine can serve store://models/penguins/1: onnxruntime: ONNX Runtime cannot load model.onnx"
        in failure.value.message
    )
    assert "openvino: OpenVINO cannot load model.onnx: " in failure.value.message
