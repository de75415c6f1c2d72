"""Every row of the input has its prediction, in order, whatever the input is."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_rows import MODELS, NUMBERS, ROWS, arrow, compressed, csv_text, json_lines, two_files, with_key

INPUTS: dict[str, Callable[[Any, list[dict[str, Any]]], str]] = {
    "CSV": lambda works, rows: works.text("raw/x.csv", csv_text(rows)),
    "CSV with semicolons": lambda works, rows: works.text("raw/x.csv", csv_text(rows, ";")),
    "CSV with line ends of Windows": lambda works, rows: works.text("raw/x.csv", csv_text(rows).replace("\n", "\r\n")),
    "CSV that was compressed in two pieces": compressed,
    "JSON lines with more than is needed": lambda works, rows: works.text("raw/x.jsonl", json_lines(with_key(rows))),
    "Parquet with more than is needed": lambda works, rows: works.parquet("raw/x.parquet", arrow(with_key(rows))),
    "Parquet of small row groups": lambda works, rows: works.parquet("raw/x.parquet", arrow(rows), row_group_size=3),
    "a folder of files": two_files,
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("source", INPUTS.values(), ids=INPUTS)
def test_rows_are_predicted_as_a_service_answers_them(source: Any, model: str, works: Any) -> None:
    works.publish(model)
    result = works.run(works.spec(model, source(works, MODELS[model]), partition_rows=4))
    loaded = works.loaded(model)
    answers = loaded.predictor.predictions(loaded.engine.run(loaded.predictor.arrays_of_rows(MODELS[model])), ROWS)
    found = works.table()
    assert found["label" if model == "columns" else "prediction"] == list(answers["predictions"])
    if model == "columns":
        assert np.allclose(found["probabilities"], answers["probabilities"])
        assert works.manifest().classes == ["é", "b"]
    assert result.outcome == "Succeeded"
    assert result.predictions.rows == works.manifest().rows == ROWS


def test_words_for_no_value_are_none_in_columns_of_numbers(works: Any) -> None:
    works.publish("numbers")
    rows = [{"a": 1.5, "b": word, "c": "+7"} for word in (None, "NA", "n/a", "NULL", "None", "NaN", " ")]
    works.run(works.spec("numbers", works.text("raw/x.csv", csv_text(rows))))
    assert len(set(works.table()["prediction"])) == 1


def test_a_run_on_every_kind_of_store_is_whole(any_works: Any) -> None:
    any_works.publish("numbers")
    spec = any_works.spec("numbers", any_works.text("raw/x.csv", csv_text(NUMBERS)), partition_rows=10, keep=["c"])
    result = any_works.run(spec)
    manifest = any_works.manifest()
    assert [(part.path, part.first_row, part.rows) for part in manifest.parts] == [
        ("part-00000-000000.parquet", 0, 10),
        ("part-00000-000001.parquet", 10, 10),
        ("part-00000-000002.parquet", 20, 5),
    ]
    for part in manifest.parts:
        data = any_works.store.read(f"predictions/out/{part.path}")
        assert (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)) == (part.sha256, part.bytes)
    digest = hashlib.sha256(any_works.store.read("predictions/out/_manifest.json")).hexdigest()
    assert result.predictions.digest == f"sha256:{digest}"
    [source] = manifest.inputs
    assert source.sha256 == f"sha256:{hashlib.sha256(csv_text(NUMBERS).encode()).hexdigest()}"
    assert manifest.model.digest == any_works.loaded("numbers").predictor.version.digest
    assert any_works.table()["c"] == [str(row["c"]) for row in NUMBERS]


def test_kept_columns_have_their_own_type_in_parquet_and_are_text_in_json(works: Any) -> None:
    works.publish("numbers")
    rows = [row | {"id": 7, "tags": ["x"], "name": "é", "none": None} for row in NUMBERS]
    keep = ["id", "tags", "name", "none"]
    works.run(works.spec("numbers", works.parquet("raw/x.parquet", pa.Table.from_pylist(rows)), keep=keep))
    found = {name: values[0] for name, values in works.table().items() if name in keep}
    assert found == {"id": 7, "tags": ["x"], "name": "é", "none": None}
    works.run(works.spec("numbers", works.text("raw/x.jsonl", json_lines(rows)), keep=keep, output="store://other"))
    part = pq.read_table(pa.BufferReader(works.store.read("other/part-00000-000000.parquet"))).to_pylist()[0]
    assert {name: part[name] for name in keep} == {"id": "7", "tags": '["x"]', "name": "é", "none": None}


PICTURES = np.random.default_rng(1).random((5, 3, 8, 8), dtype=np.float32)


def nested(values: Any) -> pa.Array:
    return pa.array(values.tolist())


def flat(values: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)


TENSORS: dict[str, tuple[str, str, Callable[[], tuple[Any, Any]], dict[str, Any]]] = {
    "pictures as nested lists of Parquet": (
        "pictures",
        "means",
        lambda: (pa.table({"image": nested(PICTURES)}), PICTURES.mean(axis=(2, 3))),
        {},
    ),
    "pictures as flat lists of Parquet": (
        "pictures",
        "means",
        lambda: (pa.table({"image": flat(PICTURES)}), PICTURES.mean(axis=(2, 3))),
        {},
    ),
    "pictures as JSON lines": (
        "pictures",
        "means",
        lambda: (json_lines([{"image": row} for row in PICTURES.tolist()]), PICTURES.mean(axis=(2, 3))),
        {},
    ),
    "ids as lists of Parquet, all of one length": (
        "ids",
        "opposite",
        lambda: (pa.table({"ids": [[1, 2], [3, 4]]}), [[-6.0, -7.0, -8.0, -9.0], [-14.0, -15.0, -16.0, -17.0]]),
        {},
    ),
    "ids as columns of CSV that the spec names": (
        "ids",
        "opposite",
        lambda: ("x,second,first\n,2,1\n,4,3\n", [[-6.0, -7.0, -8.0, -9.0], [-14.0, -15.0, -16.0, -17.0]]),
        {"columns": ["first", "second"]},
    ),
    "text as columns of Parquet": (
        "texts",
        "same",
        lambda: (pa.table({"text": [["é", "b"], ["c", ""]]}), [["é", "b"], ["c", ""]]),
        {},
    ),
}


@pytest.mark.parametrize(("model", "output", "made", "fields"), TENSORS.values(), ids=TENSORS)
def test_tensor_versions_take(model: str, output: str, made: Any, fields: dict[str, Any], works: Any) -> None:
    works.publish(model)
    source, expected = made()
    if isinstance(source, str):
        uri = works.text("raw/x.jsonl" if source.startswith("{") else "raw/x.csv", source)
    else:
        uri = works.parquet("raw/x.parquet", source)
    works.run(works.spec(model, uri, partition_rows=2, **fields))
    found = works.table()[output]
    assert found == expected if model == "texts" else np.allclose(found, expected, atol=1e-6)
