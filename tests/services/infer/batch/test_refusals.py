"""What cannot be predicted is refused with file and row, and leaves what was done before it."""

import gzip
from typing import Any

import pyarrow as pa
import pytest
from batch_rows import COLUMNS, NUMBERS, arrow, csv_text, json_lines

from windlass_core.errors import BadConfiguration, BadData, DigestMismatch, NotFound, WindlassError

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
