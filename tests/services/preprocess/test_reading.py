import gzip
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from dataset_bench import DatasetBench, parquet

from windlass_core.errors import BadData
from windlass_preprocess import reading


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        pytest.param("a,b\n1,x\n2,y\n", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], id="comma"),
        pytest.param("a;b\n1;x\n", [{"a": 1, "b": "x"}], id="semicolon"),
        pytest.param("a\tb\n1\tx\n", [{"a": 1, "b": "x"}], id="tab"),
        pytest.param("a|b\n1|x\n", [{"a": 1, "b": "x"}], id="bar"),
        pytest.param("a\n1\n2\n", [{"a": 1}, {"a": 2}], id="one column"),
        pytest.param("a,b\r\n1,x\r\n", [{"a": 1, "b": "x"}], id="lines of Windows"),
        pytest.param("\ufeffa,b\n1,x\n", [{"a": 1, "b": "x"}], id="a byte order mark"),
        pytest.param("a,b\n1,x", [{"a": 1, "b": "x"}], id="no line end at the end"),
        pytest.param(" a , b \n1,x\n", [{"a": 1, "b": "x"}], id="spaces around names"),
        pytest.param('a,b\n1,"x, ""y""\nz"\n', [{"a": 1, "b": 'x, "y"\nz'}], id="quotes, delimiters and line ends in quotes"),
        pytest.param("a,b\n1,x\n\n2,y\n", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], id="empty lines are left out"),
        pytest.param('"a,1",b\n1,x\n', [{"a,1": 1, "b": "x"}], id="a delimiter in a quoted name"),
        pytest.param("naïve,b\n1,ü\n", [{"naïve": 1, "b": "ü"}], id="letters beyond ASCII"),
        pytest.param("A,a\n1,2\n", [{"A": 1, "a": 2}], id="names that differ in case alone"),
        pytest.param('select,"x""y"\n1,2\n', [{"select": 1, 'x"y': 2}], id="names that mean something to SQL"),
    ],
)
def test_csv_is_read(bench: DatasetBench, text: str, rows: list[dict[str, Any]]) -> None:
    assert bench.prepare_csv(text).rows("train") == rows


@pytest.mark.parametrize(
    ("text", "reason", "sentence"),
    [
        pytest.param("", "EmptySource", "store://raw/data.csv is empty", id="an empty file"),
        pytest.param("\n\n", "EmptySource", "store://raw/data.csv has no header line", id="only empty lines"),
        pytest.param("a,b\n", "EmptySource", "store://raw/data.csv has no rows", id="only a header"),
        pytest.param(
            "a,b,a\n1,2,3\n", "DuplicateColumn", "two columns are named 'a'; rename one", id="two columns of one name"
        ),
        pytest.param("a,,c\n1,2,3\n", "BadData", "column 2 has no name in the header line", id="a column without a name"),
        pytest.param(
            "a,b\n1,2\n3\n4,5,6\n7,8\n",
            "BadData",
            "line 3 has fewer values than the header has names: 3; line 4 has more values than the header has names: 4,5,6",
            id="ragged rows",
        ),
        pytest.param(
            'a,b\n1,"x\n2,y\n', "BadData", 'line 2 opens a quote that is never closed: 1,"x', id="a quote that is never closed"
        ),
        pytest.param(
            'a,b\n1,"x\ny"\n2,"z\n\n"\n3\n4,5\n6\n',
            "BadData",
            "line 7 has fewer values than the header has names: 3; line 9 has fewer",
            id="ragged rows behind line ends in quotes",
        ),
        pytest.param(
            '\ufeffa,b\r\n1,"x\r\ny"\r\n3\r\n',
            "BadData",
            "line 4 has fewer values than the header has names: 3",
            id="and behind a byte order mark",
        ),
        pytest.param("a,b\r\n1,2\r\n\r\n\r\n3\r\n", "BadData", "line 5 has fewer", id="and behind empty lines"),
        pytest.param(b"a,b\n1,\xff\n", "BadData", "line 2 is not UTF-8", id="bytes that are no UTF-8"),
        pytest.param(b"\xff,b\n1,2\n", "BadData", "the header line is not UTF-8", id="a header that is no UTF-8"),
        pytest.param("a,b\n" + "1,2,3\n" * 50, "BadData", "(50 such lines)", id="many ragged rows are counted"),
        pytest.param(
            "a,b\n1,2\r\n3,4\n", "BadData", "store://raw/data.csv: cannot be read as CSV", id="two kinds of line ends"
        ),
    ],
)
def test_csv_that_cannot_be_read_is_named_with_file_line_and_cause(
    bench: DatasetBench, text: str | bytes, reason: str, sentence: str
) -> None:
    with pytest.raises(BadData) as raised:
        bench.prepare_csv(text)
    assert raised.value.reason == reason
    assert "store://raw/data.csv" in raised.value.message
    assert sentence in raised.value.message
    assert "/tmp" not in raised.value.message  # noqa: S108


TYPED = [
    pytest.param(["1", "-2", "+3", "007"], "int64", [1, -2, 3, 7], id="integers, also with a plus or zeros in front"),
    pytest.param(["9223372036854775807"], "int64", [2**63 - 1], id="the largest integer"),
    pytest.param(["1", "2.5"], "float64", [1.0, 2.5], id="numbers with fractions"),
    pytest.param(["1.0", "2.0"], "float64", [1.0, 2.0], id="a point makes a number, not an integer"),
    pytest.param(["1e3", ".5"], "float64", [1000.0, 0.5], id="exponents and leading points"),
    pytest.param(["9223372036854775808"], "float64", [float(2**63)], id="beyond the largest integer"),
    pytest.param([" 1 ", "2"], "int64", [1, 2], id="spaces around numbers"),
    pytest.param(["1", "", "NA", "n/a", "NULL", "None", "NaN"], "int64", [1, *[None] * 6], id="what stands for no value"),
    pytest.param(["true", "FALSE", ""], "bool", [True, False, None], id="booleans"),
    pytest.param(["2026-01-31", ""], "date", ["2026-01-31", None], id="dates"),
    pytest.param(
        ["2026-01-31T12:00:00Z", "2026-01-31 14:00:00+02:00", "2026-01-31"],
        "timestamp",
        ["2026-01-31T12:00:00", "2026-01-31T12:00:00", "2026-01-31T00:00:00"],
        id="timestamps, in UTC",
    ),
    pytest.param(["x", "NA", ""], "string", ["x", "NA", None], id="NA is a value among texts"),
    pytest.param(["yes", "no"], "string", ["yes", "no"], id="yes and no are texts"),
    pytest.param(["2026_01", "2026_02"], "string", ["2026_01", "2026_02"], id="digits with an underline are texts"),
    pytest.param(["1", "true"], "string", ["1", "true"], id="numbers and booleans are texts together"),
    pytest.param(["12:30", "13:00"], "string", ["12:30", "13:00"], id="times are texts"),
]


@pytest.mark.parametrize(("values", "kind", "expected"), TYPED)
def test_a_csv_column_has_the_narrowest_type_of_all_its_values(
    bench: DatasetBench, values: list[str], kind: str, expected: list[Any]
) -> None:
    text = "id,x\n" + "".join(f'r{number},"{value}"\n' for number, value in enumerate(values))
    version = bench.prepare_csv(text)
    column = version.content.columns[1]
    assert (column.name, column.type, column.nullable) == ("x", kind, None in expected)
    found = [row["x"] for row in version.rows("train")]
    assert [value.isoformat() if hasattr(value, "isoformat") else value for value in found] == expected


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param(
            ["1"] * 30 + ["x"],
            "row 31 of store://raw/data.csv, column 'x': 'x' is no number, but 30 of the column's 31 values are",
            id="a text among numbers",
        ),
        pytest.param(
            ["1.5"] * 30 + ["inf"],
            "row 31 of store://raw/data.csv, column 'x': 'inf' is no number",
            id="infinity among numbers",
        ),
        pytest.param(
            ["1", "1e39"], "row 2 of store://raw/data.csv, column 'x': 1e+39 is too large to compute with", id="beyond float32"
        ),
        pytest.param(
            ["2026-01-31", "0000-01-31"],
            "row 2 of store://raw/data.csv, column 'x': 0001-01-31 (BC) is not between the years 1 and 9999",
            id="a date before all others",
        ),
        pytest.param(
            ["2026-01-31 12:00:00", "20260-01-31 12:00:00"],
            "column 'x': 20260-01-31 12:00:00 is not between the years 1 and 9999",
            id="a timestamp behind all others",
        ),
        pytest.param(["", ""], "column 'x' has no value in any row; leave it out by a drop step", id="no value at all"),
    ],
)
def test_a_csv_column_that_cannot_be_used_is_named(bench: DatasetBench, values: list[str], sentence: str) -> None:
    text = "id,x\n" + "".join(f"r{number % 3},{value}\n" for number, value in enumerate(values))
    with pytest.raises(BadData) as raised:
        bench.prepare_csv(text)
    assert sentence in raised.value.message


def test_numbers_with_texts_among_them_are_categories_when_an_encode_step_says_so(bench: DatasetBench) -> None:
    text = "x,y\n" + "1,2\n" * 30 + "other,3\n"
    version = bench.prepare_csv(text, steps=[{"encode": {"columns": ["x"]}}])
    assert version.transform.feature_names == ["x=1", "x=other", "y"]


def test_a_column_that_cannot_be_used_may_be_dropped(bench: DatasetBench) -> None:
    text = "x,y,z\n1,,1\n2,,2\n"
    assert bench.prepare_csv(text, steps=[{"drop": {"columns": ["y"]}}]).rows("train") == [{"x": 1, "z": 1}, {"x": 2, "z": 2}]


JSON_LINES = '{"a": 1, "b": "x", "c": true, "d": "2026-01-31"}\n{"b": "y", "a": 2.5, "c": null}\n'


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.jsonl.gz"])
def test_json_lines_are_read(bench: DatasetBench, name: str) -> None:
    data = gzip.compress(JSON_LINES.encode()) if name.endswith(".gz") else JSON_LINES.encode()
    version = bench.prepare(bench.upload(name, data))
    assert [(column.name, column.type) for column in version.content.columns] == [
        ("a", "float64"),
        ("b", "string"),
        ("c", "bool"),
        ("d", "date"),
    ]
    assert [list(row.values())[:3] for row in version.rows("train")] == [[1.0, "x", True], [2.5, "y", None]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            '{"a": 1}\n{"a": \n', 'store://raw/data.jsonl: line 2 is not JSON: Expecting value: {"a":', id="a line cut short"
        ),
        pytest.param(
            '{"a": 1}\n{"a" 2}\n', "store://raw/data.jsonl: line 2 is not JSON: Expecting ':' delimiter", id="a broken line"
        ),
        pytest.param("[1, 2]\n", "line 1 is JSON, but not an object: [1, 2]", id="no objects"),
        pytest.param("[" * 100_000, "line 1 is nested too deeply: [[[", id="nested without end"),
        pytest.param('{"a": 1, "A": 2}\n', "the columns 'A' and 'a' differ in nothing but case", id="keys that differ in case"),
        pytest.param('{"a": 1}\n{"A": 2}\n', "the columns 'A' and 'a' differ in nothing but case", id="and in two lines"),
        pytest.param('{"a": [1]}\n', "column 'a' holds values of type", id="lists"),
        pytest.param('{"a": {"b": 1}}\n', "column 'a' holds values of type", id="objects in objects"),
        pytest.param(
            '{"a": 1}\n{"a": "x"}\n',
            "column 'a' holds lists, objects, values of several types or no values",
            id="several types",
        ),
        pytest.param(
            '{"a": 18446744073709551615}\n', "18446744073709551615 is beyond the range of int64", id="an integer beyond int64"
        ),
    ],
)
def test_json_that_cannot_be_read_is_named(bench: DatasetBench, text: str, sentence: str) -> None:
    with pytest.raises(BadData) as raised:
        bench.prepare(bench.upload("data.jsonl", text))
    assert sentence in raised.value.message
    assert "/tmp" not in raised.value.message  # noqa: S108
    assert "\n" not in raised.value.message


def test_a_key_that_looks_as_if_it_were_renamed_is_kept(bench: DatasetBench) -> None:
    assert bench.prepare(bench.upload("data.jsonl", '{"a": 1, "a_1": 2}\n')).rows("train") == [{"a": 1, "a_1": 2}]


def test_an_array_of_objects_in_one_long_line_is_told_without_parsing_it(
    bench: DatasetBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST_JSON_LINE", 100)
    text = "[" + ", ".join(['{"a": 1}'] * 100) + "]\n"
    with pytest.raises(BadData, match="line 1 is not an object: "):
        bench.prepare(bench.upload("data.json", text))


@pytest.mark.parametrize("name", ["data.csv.gz", "data.json.gz"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:20] + b"\xff\x13" * 30 + data[80:], id="bytes changed in the middle"),
        pytest.param(lambda data: data[:100], id="cut short"),
        pytest.param(lambda _data: b"a,b\n1,2\n", id="not compressed at all"),
    ],
)
def test_a_compressed_file_that_is_damaged_is_bad_data(
    bench: DatasetBench, name: str, damage: Callable[[bytes], bytes]
) -> None:
    lines = "a,b\n" if ".csv" in name else ""
    lines += "".join(f"{n},{n * n % 997}\n" if ".csv" in name else f'{{"a": {n * n % 997}}}\n' for n in range(10_000))
    with pytest.raises(BadData, match=rf"store://raw/{name}") as raised:
        bench.prepare(bench.upload(name, damage(gzip.compress(lines.encode()))))
    assert "/tmp" not in raised.value.message  # noqa: S108


def test_the_line_is_right_in_a_file_that_many_threads_read(bench: DatasetBench) -> None:
    rows = [f'{number},"a text of\ntwo lines, the row of number {number}"' for number in range(300_000)]
    rows.insert(250_000, "alone")
    with pytest.raises(BadData, match="line 500002 has fewer values than the header has names: alone"):
        bench.prepare_csv("a,b\n" + "\n".join(rows) + "\n")


def test_parquet_keeps_its_types(bench: DatasetBench) -> None:
    data = parquet(
        small=pa.array([1, None], pa.int8()),
        single=pa.array([1.5, float("nan")], pa.float32()),
        price=pa.array([1, 2], pa.decimal128(5, 2)),
        text=pa.array(["x", "y"]).dictionary_encode(),
        flag=pa.array([True, False]),
        day=pa.array([0, 1], pa.date32()),
        moment=pa.array([0, 1_000_000_000], pa.timestamp("ns", "Europe/Berlin")),
    )
    version = bench.prepare(bench.upload("data.parquet", data))
    assert [column.type for column in version.content.columns] == [
        "int64", "float64", "float64", "string", "bool", "date", "timestamp",
    ]  # fmt: skip
    assert [row["small"] for row in version.rows("train")] == [1, None]
    assert [row["single"] for row in version.rows("train")] == [1.5, None]
    assert [row["moment"].second for row in version.rows("train")] == [0, 1]


@pytest.mark.parametrize(
    ("data", "reason", "sentence"),
    [
        pytest.param(b"PAR1 is not enough", "BadData", "store://raw/data.parquet cannot be read as Parquet", id="no Parquet"),
        pytest.param(
            parquet(a=pa.array([1, 3_000_000], pa.date32())),
            "BadData",
            "row 2 of store://raw/data.parquet, column 'a': 10183-09-21 is not between the years 1 and 9999",
            id="a date that Python does not know",
        ),
        pytest.param(parquet(a=[[1]]), "UnsupportedColumn", "column 'a' holds values of type BIGINT[]", id="lists"),
        pytest.param(parquet(a=[b"x"]), "UnsupportedColumn", "column 'a' holds values of type BLOB", id="bytes"),
        pytest.param(
            parquet(a=[1], A=[2]), "DuplicateColumn", "differ in nothing but case", id="names that differ in case alone"
        ),
        pytest.param(
            parquet(a=[1.0, float("inf")]),
            "BadData",
            "row 2 of store://raw/data.parquet, column 'a': inf is too large",
            id="infinity",
        ),
    ],
)
def test_parquet_that_cannot_be_used_is_named(bench: DatasetBench, data: bytes, reason: str, sentence: str) -> None:
    with pytest.raises(BadData) as raised:
        bench.prepare(bench.upload("data.parquet", data))
    assert raised.value.reason == reason
    assert sentence in raised.value.message
