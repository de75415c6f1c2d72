"""Reading a Dataset version: what tensors it gives, and what it says of versions that cannot be learned from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import publish_table

from windlass_core.contracts import VersionReference
from windlass_core.errors import BadConfiguration, BadData, DigestMismatch, NotFound, WindlassError
from windlass_core.store import Store
from windlass_train import data as reading
from windlass_train.data import load

SHARES = {"train": 0.6, "validation": 0.4, "test": 0.0}


def table(store: Store, folder: Path, **options: Any) -> VersionReference:
    features = np.arange(30, dtype=np.float64).reshape(10, 3)
    labels = np.array([3, 7] * 5)
    settings: dict[str, Any] = {"classes": True, "shares": SHARES} | options
    return publish_table(store, folder, "table", features, labels, **settings)


def test_classes_become_numbers_and_features_are_transformed(store: Store, tmp_path: Path) -> None:
    data = load(store, table(store, tmp_path))
    assert data.problem.task == "classification"
    assert (data.problem.label, data.problem.features, data.problem.classes) == ("y", 3, 2)
    assert data.classes == [3, 7]
    assert (data.train.features.dtype, data.train.targets.dtype) == (torch.float32, torch.int64)
    assert (data.train.rows, data.validation.rows if data.validation else 0, data.test) == (6, 4, None)
    torch.testing.assert_close(data.train.features.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    assert set(data.train.targets.tolist()) == {0, 1}


def test_quantities_are_told_in_deviations_from_their_mean(store: Store, tmp_path: Path) -> None:
    data = load(store, table(store, tmp_path, classes=False))
    assert (data.problem.task, data.problem.classes, data.classes) == ("regression", 0, None)
    assert data.train.targets.dtype == torch.float32
    assert float(data.train.targets.mean()) == pytest.approx(0, abs=1e-6)
    assert float(data.train.targets.std(correction=0)) == pytest.approx(1)
    back = data.train.targets * data.problem.scale + data.problem.offset
    assert set(back.round().tolist()) == {3.0, 7.0}


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_how_many_rows_are_read_at_once_changes_nothing(
    store: Store, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = table(store, tmp_path)
    whole = load(store, reference)
    monkeypatch.setattr(reading, "READ_ROWS", rows)
    parts = load(store, reference)
    torch.testing.assert_close(parts.train.features, whole.train.features, rtol=0, atol=0)
    torch.testing.assert_close(parts.train.targets, whole.train.targets, rtol=0, atol=0)


def other_digest(store: Store, folder: Path) -> VersionReference:
    return table(store, folder).model_copy(update={"digest": "sha256:" + "0" * 64})


def changed_file(store: Store, folder: Path) -> VersionReference:
    reference = table(store, folder)
    [path] = [entry.path for entry in store.list("datasets/table/1/files") if "train/part" in entry.path]
    store.write(path, b"PAR1 and nothing more")
    return reference


REFUSED: dict[str, tuple[Any, type[WindlassError], str]] = {
    "another version than the one asked for": (other_digest, DigestMismatch, "was asked for"),
    "a file was changed": (changed_file, DigestMismatch, "train/part-00000.parquet"),
    "there is no label": (lambda store, folder: table(store, folder, label=False), BadConfiguration, "set label in its spec"),
    "there is no such version": (
        lambda *_: VersionReference(name="none", version=1, uri="store://datasets/none/1", digest="sha256:0"),
        NotFound,
        "nothing is at",
    ),
}


@pytest.mark.parametrize(("make", "error", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_version_that_cannot_be_learned_from_says_why(
    store: Store, tmp_path: Path, make: Any, error: type[WindlassError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        load(store, make(store, tmp_path))


def test_a_version_with_other_rows_than_its_manifest_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = table(store, tmp_path)
    tables = reading._tables
    monkeypatch.setattr(reading, "_tables", lambda *arguments: (part.slice(1) for part in tables(*arguments)))
    with pytest.raises(BadData, match=r"the train split of .* should have 6 rows, but its files have others"):
        load(store, reference)
