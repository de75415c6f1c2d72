"""Every row of the input has its prediction, in order, whatever the input is; what cannot be is refused with file and row."""

import gzip
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass_core.errors import BadConfiguration, BadData, DigestMismatch, NotFound, WindlassError

ROWS = 25
NUMBERS = [{"a": i / 2, "b": None if i % 7 == 3 else i / 4, "c": i} for i in range(ROWS)]
COLUMNS = [
    {
        "island": "Dream" if i % 2 else "Biscoe",
        "mass": None if i == 9 else 4000.5 + i,
        "ringed": i % 3 == 0,
        "seen": f"2008-01-{i + 1:02}",
        "year": 2007,
    }
    for i in range(ROWS)
]
MODELS: dict[str, list[dict[str, Any]]] = {"numbers": NUMBERS, "columns": COLUMNS}


def csv_text(rows: list[dict[str, Any]], delimiter: str = ",", missing: str = "") -> str:
    def field(value: Any) -> str:
        return missing if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    lines = [delimiter.join(rows[0]), *(delimiter.join(field(value) for value in row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def with_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a key and with a column that no model knows."""
    return [{"id": number, "note": 'a "quoted"', **row} for number, row in enumerate(rows)]


def arrow(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    if "seen" in table.column_names:
        table = table.set_column(table.column_names.index("seen"), "seen", table["seen"].cast(pa.date32()))
    return table


def two_files(works: Any, rows: list[dict[str, Any]]) -> str:
    works.text("raw/f/b.csv", csv_text(rows[12:]))
    works.text("raw/f/a.csv", csv_text(rows[:12]))
    works.text("raw/f/_SUCCESS", "of another tool")
    return "store://raw/f/"


def compressed(works: Any, rows: list[dict[str, Any]]) -> str:
    text = csv_text(rows).encode()
    return str(works.text("raw/x.csv.gz", gzip.compress(text[:200]) + gzip.compress(text[200:])))


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


REFUSED: dict[str, tuple[str, str, Any, dict[str, Any], type[WindlassError], str]] = {
    "a text among numbers of CSV": (
        "numbers",
        "x.csv",
        csv_text([*NUMBERS, {"a": "many", "b": 1, "c": 1}]),
        {},
        BadData,
        "row 26 of store://raw/x.csv: column 'a': 'many' is no float64",
    ),
    "a fraction where whole numbers are": (
        "numbers",
        "x.csv",
        csv_text([*NUMBERS, {"a": 1, "b": 1, "c": 1.5}]),
        {},
        BadData,
        "row 26 of store://raw/x.csv: column 'c'",
    ),
    "no value where the data had one in every row": (
        "numbers",
        "x.csv",
        csv_text([*NUMBERS, {"a": None, "b": 1, "c": 1}]),
        {},
        BadData,
        "row 26 of store://raw/x.csv: column 'a': has no value",
    ),
    "a line of CSV with too few values": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS) + "1,2\n",
        {},
        BadData,
        "row 26 of store://raw/x.csv has 2 values",
    ),
    "a quote that is never closed": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS) + '1,"2,3\n4,5,6\n',
        {},
        BadData,
        "row 26 of store://raw/x.csv has 2 values",
    ),
    "quotes within values": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS) + '1,2"x,3\n4,5,6\n7,8"y,9\n',
        {},
        BadData,
        "rows 1 to 26 of store://raw/x.csv: a quote stands within a value",
    ),
    "a line that is no JSON": (
        "numbers",
        "x.jsonl",
        json_lines(NUMBERS) + "{\n",
        {},
        BadData,
        "row 26 of store://raw/x.jsonl is not JSON",
    ),
    "a line that is no object": (
        "numbers",
        "x.jsonl",
        json_lines(NUMBERS) + "[1]\n",
        {},
        BadData,
        "row 26 of store://raw/x.jsonl is JSON, but not an object",
    ),
    "a category of JSON that the data had not": (
        "columns",
        "x.jsonl",
        json_lines([*COLUMNS, COLUMNS[0] | {"island": "Atlantis"}]),
        {},
        BadData,
        "row 26 of store://raw/x.jsonl: column 'island': 'Atlantis' is not among those of the data",
    ),
    "a category of Parquet that the data had not": (
        "columns",
        "x.parquet",
        lambda: arrow([*COLUMNS, COLUMNS[1] | {"island": "Atlantis"}]),
        {},
        BadData,
        "row 26 of store://raw/x.parquet: column 'island': 'Atlantis'",
    ),
    "a number whose prediction is none": (
        "numbers",
        "x.csv",
        csv_text([*NUMBERS, {"a": 1e39, "b": 1, "c": 1}]),
        {},
        BadData,
        "row 26 of store://raw/x.csv: column 'a'",
    ),
    "an id that the model does not know": (
        "ids",
        "x.parquet",
        lambda: pa.table({"ids": [[1, 2], [3, 10]]}),
        {},
        BadData,
        "row 2 of store://raw/x.parquet: input 'ids'",
    ),
    "rows of different lengths": (
        "ids",
        "x.parquet",
        lambda: pa.table({"ids": [[1, 2], [3]]}),
        {},
        BadData,
        "rows 1 to 2 of store://raw/x.parquet: column 'ids': lists of different lengths",
    ),
    "a list without a value": (
        "ids",
        "x.parquet",
        lambda: pa.table({"ids": [[1, 2], None]}),
        {},
        BadData,
        "row 2 of store://raw/x.parquet: column 'ids'",
    ),
    "a column that is not there": (
        "numbers",
        "x.csv",
        "a,b\n1,2\n",
        {},
        BadData,
        "store://raw/x.csv has no column 'c'; it has a, b",
    ),
    "a kept column that is not there": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"keep": ["id"]},
        BadData,
        "has no column 'id'",
    ),
    "a kept column with the name of an output": (
        "numbers",
        "x.csv",
        "prediction\n1\n",
        {"keep": ["prediction"]},
        BadConfiguration,
        "an output has this name",
    ),
    "columns for a version that names its own": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"columns": ["a"]},
        BadConfiguration,
        "`columns` is for tensor versions",
    ),
    "pictures from CSV": ("pictures", "x.csv", "image\n1\n", {}, BadConfiguration, "takes lists, which CSV has not"),
    "a header without rows": ("numbers", "x.csv", "a,b,c\n", {}, BadData, "store://raw/x.csv has no rows"),
    "a file without a byte": ("numbers", "x.csv", "", {}, BadData, "store://raw/x.csv is empty"),
    "gzip that is cut short": (
        "numbers",
        "x.csv.gz",
        gzip.compress(csv_text(NUMBERS).encode())[:-9],
        {},
        BadData,
        "store://raw/x.csv.gz is cut short",
    ),
    "gzip that is none": ("numbers", "x.csv.gz", csv_text(NUMBERS), {}, BadData, "store://raw/x.csv.gz is not gzip"),
    "Parquet that is none": ("numbers", "x.parquet", "PAR1", {}, BadData, "store://raw/x.parquet cannot be read as Parquet"),
    "a version that is not there": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"model": {"name": "numbers", "version": 2}},
        NotFound,
        "'numbers' has no version 2",
    ),
    "a model that is not there": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"model": {"name": "no"}},
        NotFound,
        "'no' has no version",
    ),
    "a version of another digest": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"model": {"name": "numbers", "version": 1, "digest": "sha256:0"}},
        DigestMismatch,
        "but sha256:0 was asked for",
    ),
    "files that are not there": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"input": {"uri": "store://raw/no.csv"}},
        NotFound,
        "nothing is at store://raw/no.csv",
    ),
    "a Dataset that is not there": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"input": {"dataset": {"name": "no"}}},
        NotFound,
        "'no' has no version",
    ),
    "a folder outside the namespace": (
        "numbers",
        "x.csv",
        csv_text(NUMBERS),
        {"output": "store://../x"},
        BadConfiguration,
        "is not a path in the store",
    ),
}


@pytest.mark.parametrize(("model", "name", "made", "fields", "error", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_run_is_refused_for(
    model: str, name: str, made: Any, fields: dict[str, Any], error: type[WindlassError], sentence: str, works: Any
) -> None:
    works.publish(model)
    source = made() if callable(made) else made
    uri = works.parquet(f"raw/{name}", source) if isinstance(source, pa.Table) else works.text(f"raw/{name}", source)
    with pytest.raises(error) as raised:
        works.run(works.spec(model, uri, **fields))
    assert sentence in raised.value.message
    assert "Traceback" not in raised.value.message
    assert [entry.path for entry in works.store.list("predictions") if entry.path.endswith("_manifest.json")] == []


def test_a_run_on_rows_before_a_bad_one_keeps_their_parts(works: Any) -> None:
    works.publish("numbers")
    spec = works.spec("numbers", works.text("raw/x.csv", csv_text([*NUMBERS, {"a": "?", "b": 1, "c": 1}])), partition_rows=5)
    with pytest.raises(BadData, match="row 26 of"):
        works.run(spec)
    assert "predictions/out/part-00000-000000.parquet" in works.files()
