"""The rows of a Dataset version, as preparation makes it, are predicted for split by split."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass_core.contracts import PreprocessRun
from windlass_core.errors import BadData, DigestMismatch
from windlass_core.registry import Registry
from windlass_core.run import ProgressBoard, RunContext
from windlass_preprocess.limits import MIB, Limits
from windlass_preprocess.pipeline import prepare

ROWS = 200
LINES = [f"{row / 8},{row % 9 or ''},{row},{row % 3}" for row in range(ROWS)]


def prepare_data(works: Any, **split: float) -> Any:
    """A Dataset `data` of 200 rows, divided as `split` says, and a model of its columns."""
    works.publish("numbers")
    works.text("raw/x.csv", "\n".join(["a,b,c,q", *LINES]) + "\n")
    spec = {"source": {"uri": "store://raw/x.csv"}, "label": "q", "split": split}
    run = PreprocessRun.model_validate({"namespace": "team", "name": "data", "spec": spec})
    prepare(run, RunContext(ProgressBoard(), threading.Event()), works.store, Limits.within(512 * MIB, 1))
    return works


@pytest.fixture
def prepared(any_works: Any) -> Any:
    """The Dataset with a fifth of its rows each for validation and test."""
    return prepare_data(any_works, validation=0.2, test=0.2)


def spec_of(works: Any, split: str, **fields: Any) -> Any:
    return works.spec("numbers", "", input={"dataset": {"name": "data"}, "split": split}, keep=["c", "q"], **fields)


@pytest.mark.parametrize(("split", "rows"), [("test", 40), ("all", ROWS)])
def test_each_row_of_a_split_is_predicted_with_what_is_kept_in_its_own_type(split: str, rows: int, prepared: Any) -> None:
    prepared.run(spec_of(prepared, split, partition_rows=16))
    found = prepared.table()
    version = Registry(prepared.store, "datasets").open("data", 1)
    names = ["train", "validation", "test"] if split == "all" else [split]
    files = [path for name in names for path in version.manifest.dataset.splits[name].files]
    given = pa.concat_tables([pq.read_table(pa.BufferReader(version.read(path))) for path in files])
    assert found["c"] == given["c"].to_pylist()
    assert len(found["prediction"]) == rows
    loaded = prepared.loaded("numbers")
    asked = given.select(["a", "b", "c"]).to_pylist()
    answers = loaded.predictor.predictions(loaded.engine.run(loaded.predictor.arrays_of_rows(asked)), rows)
    assert found["prediction"] == list(answers["predictions"])


def test_the_manifest_names_the_dataset_version_and_its_files(prepared: Any) -> None:
    prepared.run(spec_of(prepared, "test"))
    manifest = prepared.manifest()
    version = Registry(prepared.store, "datasets").open("data", 1)
    assert manifest.dataset == version.reference
    assert manifest.split == "test"
    files = {file.path: file.sha256 for file in version.manifest.files}
    assert {one.uri: one.sha256 for one in manifest.inputs} == {
        f"store://datasets/data/1/{path}": files[path] for path in ["test/part-00000.parquet"]
    }


def test_a_damaged_file_of_the_version_is_refused(works: Any, tmp_path: Path) -> None:
    prepare_data(works, validation=0.1, test=0.1)
    [damaged] = (tmp_path / "store").rglob("test/part-00000.parquet")
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"nonsense!")
    with pytest.raises(DigestMismatch, match=r"test/part-00000\.parquet"):
        works.run(spec_of(works, "test"))


def test_a_split_without_rows_is_said(works: Any) -> None:
    prepare_data(works, validation=0, test=0.2)
    with pytest.raises(BadData, match="has no rows in split validation"):
        works.run(spec_of(works, "validation"))
