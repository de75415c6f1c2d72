"""Loading: what is served is what was published, and what cannot be served says why in one word and one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windlass_core.contracts import InferServe
from windlass_core.errors import BadConfiguration, DigestMismatch, Unavailable, WindlassError
from windlass_core.manifests import ManifestFile
from windlass_core.store import Store
from windlass_infer.loader import load, load_patient


def path_in_store(shelf: Any, published: Any, name: str) -> Path:
    """Where a file of a version lies on the disk."""
    base = shelf.root / "team" / "models" / "penguins" / str(published.reference.version)
    file: ManifestFile | None = published.manifest.file(name)
    return Path(base / (file.location if file else name))


@pytest.mark.parametrize(
    ("replaced", "sentence"),
    [
        ({"program": b"no program"}, "ONNX Runtime cannot load model.onnx"),
        ({"program": b""}, "ONNX Runtime cannot load model.onnx"),
        ({"program": "width"}, "the program takes features FP32 [rows, 2], but the transform makes FP32 [rows, 3]"),
        ({"program": "output"}, "must answer probabilities FP32 [rows, 3], but answers logits FP32 [rows, 3]"),
        ({"program": "classes"}, "must answer probabilities FP32 [rows, 3], but answers probabilities FP32 [rows, 2]"),
        ({"program": "infinite"}, "the model answers no finite number"),
        ({"transform": b"{}"}, "its transform.json cannot be read by this release: Field required"),
        (
            {"formats": {"torch.export": "model.pt2"}},
            "has the formats torch.export; no engine can run it here: the version has no program of the format onnx",
        ),
        ({"formats": {"onnx": "elsewhere.onnx"}}, "has no file elsewhere.onnx"),
        ({"classes": [3, 5, 9]}, "the classes of the manifest are not those of the transform"),
        ({"task": "regression"}, "the manifest says regression"),
    ],
    ids=[
        "bytes that are no program",
        "an empty program",
        "a program of another width",
        "a program with another output",
        "a program of other classes",
        "a program that answers infinity",
        "a transform that is none",
        "no format that an engine runs",
        "a program that was not published",
        "other classes than the data's",
        "another task than the data's",
    ],
)
def test_a_version_that_cannot_be_served_says_why(
    shelf: Any,
    examples: dict[str, Any],
    onnx_program: Callable[..., bytes],
    tmp_path: Path,
    replaced: dict[str, Any],
    sentence: str,
) -> None:
    programs = {
        "width": onnx_program([[1, 0, 0]] * 2, "probabilities", softmax=True),
        "output": onnx_program([[1, 0, 0]] * 3, "logits", softmax=True),
        "classes": onnx_program([[1, 0]] * 3, "probabilities", softmax=True),
        "infinite": onnx_program([[float("inf")] * 3] * 3, "probabilities", softmax=False),
    }
    replaced = {key: programs.get(value, value) if isinstance(value, str) else value for key, value in replaced.items()}
    published = shelf.publish(examples["numbers"], **replaced)
    with pytest.raises(WindlassError) as failure:
        load(shelf.spec(published), shelf.store, tmp_path)
    assert failure.value.reason == "ModelLoadFailed"
    assert failure.value.exit_code == 41
    assert failure.value.message.startswith("version 1 of model 'penguins' ")
    assert sentence in failure.value.message


def test_a_version_that_does_not_exist_says_so(shelf: Any, examples: dict[str, Any], tmp_path: Path) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"]))
    absent = spec.model_copy(update={"model": spec.model.model_copy(update={"version": 9})})
    with pytest.raises(WindlassError, match="version 9 of model 'penguins' is not whole in the store") as failure:
        load(absent, shelf.store, tmp_path)
    assert failure.value.reason == "ModelLoadFailed"


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "transform.json"])
def test_a_changed_byte_is_a_digest_mismatch(
    shelf: Any, examples: dict[str, Any], tamper: Callable[[Path], None], tmp_path: Path, name: str
) -> None:
    published = shelf.publish(examples["numbers"])
    tamper(path_in_store(shelf, published, name))
    with pytest.raises(DigestMismatch) as failure:
        load(shelf.spec(published), shelf.store, tmp_path)
    assert failure.value.reason == "DigestMismatch"
    assert name.removesuffix(".json") in failure.value.message


def test_a_store_that_is_away_is_waited_for_and_said(shelf: Any, examples: dict[str, Any], tmp_path: Path) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"]))
    away = iter([True, True, True, True, True, False])
    said: list[str] = []
    pauses: list[float] = []

    def open_store() -> Store:
        if next(away):
            raise Unavailable("the store does not answer")
        store: Store = shelf.store
        return store

    loaded = load_patient(spec, open_store, tmp_path, say=said.append, pause=pauses.append)
    assert loaded.predictor.version.number == 1
    assert pauses == [1, 2, 4, 8, 15]
    assert said[0] == "waiting for version 1 of model 'penguins': the store does not answer; trying again in 1 s"


def test_a_store_that_refuses_the_credentials_is_not_waited_for(shelf: Any, examples: dict[str, Any], tmp_path: Path) -> None:
    spec: InferServe = shelf.spec(shelf.publish(examples["numbers"]))

    def never(what: object) -> None:
        pytest.fail(f"it waits: {what}")

    def open_store() -> Store:
        raise BadConfiguration("refused", reason="StoreAccessDenied")

    with pytest.raises(BadConfiguration) as failure:
        load_patient(spec, open_store, tmp_path, say=never, pause=never)
    assert failure.value.reason == "StoreAccessDenied"
