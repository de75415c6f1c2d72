"""Which files a source names, and how many files become one table."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from dataset_bench import DatasetBench, parquet

from windlass_core.errors import BadConfiguration, BadData, NotFound
from windlass_core.resources.dataset import Source
from windlass_core.store import Store
from windlass_preprocess.database import on_scratch
from windlass_preprocess.source import copy, find


@pytest.mark.parametrize(
    ("uri", "rows"),
    [
        pytest.param("store://raw/days/", [1, 2, 3, 4], id="a folder, in the order of names, without hidden files"),
        pytest.param("store://raw/days/*.csv", [1, 2, 3], id="a glob"),
        pytest.param("store://raw/days/b.csv.gz", [4], id="one compressed file"),
        pytest.param("store://raw/d*/a[12].csv", [1, 2, 3], id="a glob in the folder"),
    ],
)
def test_many_files_of_one_schema_are_one_table(bench: DatasetBench, uri: str, rows: list[int]) -> None:
    bench.upload("days/a2.csv", "x\n3\n")
    bench.upload("days/a1.csv", "x\n1\n2\n")
    bench.upload("days/b.csv.gz", gzip.compress(b"x\n4\n"))
    bench.upload("days/_SUCCESS", "done")
    bench.upload("other.csv", "x\n9\n")
    version = bench.prepare(uri)
    assert [row["x"] for row in version.rows("train")] == rows
    assert len(version.content.source) == len(version.content.source_digests)


def test_a_place_in_many_files_names_the_right_one(bench: DatasetBench) -> None:
    bench.upload("days/a.csv", "x,y\n" + "1,1\n" * 20)
    bench.upload("days/b.csv", "x,y\n1,1\nbad,1\n")
    with pytest.raises(BadData, match=r"row 2 of store://raw/days/b.csv, column 'x': 'bad' is no number"):
        bench.prepare("store://raw/days/")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        pytest.param("x,z", "has other columns than store://raw/days/a.csv: it lacks y and has z more", id="other names"),
        pytest.param("y,x", "has them in another order", id="another order"),
    ],
)
def test_files_of_other_columns_are_named(bench: DatasetBench, header: str, sentence: str) -> None:
    bench.upload("days/a.csv", "x,y\n1,2\n")
    bench.upload("days/b.csv", f"{header}\n1,2\n")
    with pytest.raises(BadData) as raised:
        bench.prepare("store://raw/days/")
    assert "store://raw/days/b.csv" in raised.value.message
    assert sentence in raised.value.message


def test_files_with_another_delimiter_are_named(bench: DatasetBench) -> None:
    bench.upload("days/a.csv", "x,y\n1,2\n")
    bench.upload("days/b.csv", "x;y\n1;2\n")
    with pytest.raises(BadData, match=r"days/b\.csv has ';' between its values, but store://raw/days/a.csv has ','"):
        bench.prepare("store://raw/days/")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        pytest.param(parquet(x=[1], y=[2.0], z=[3]), "days/b.parquet has other columns .* it has z more", id="a column more"),
        pytest.param(parquet(x=[1]), "days/b.parquet has other columns .* it lacks y", id="a column less"),
        pytest.param(
            parquet(x=["1"], y=[2.0]), "days/b.parquet: column 'x' is of type string, but int64 in", id="text for numbers"
        ),
        pytest.param(parquet(x=[True], y=[2.0]), "column 'x' is of type bool, but int64 in", id="truths for numbers"),
    ],
)
def test_parquet_files_that_do_not_fit_together_are_named(bench: DatasetBench, second: bytes, sentence: str) -> None:
    bench.upload("days/a.parquet", parquet(x=[1], y=[1.0]))
    bench.upload("days/b.parquet", second)
    with pytest.raises(BadData, match=sentence):
        bench.prepare("store://raw/days/")


def test_parquet_files_of_wider_and_narrower_types_lose_nothing(bench: DatasetBench) -> None:
    bench.upload("days/a.parquet", parquet(x=pa.array([1], pa.int8()), y=["u"]))
    bench.upload("days/b.parquet", parquet(y=pa.array(["v"]).dictionary_encode(), x=[2.5]))
    assert bench.prepare("store://raw/days/").rows("train") == [{"x": 1.0, "y": "u"}, {"x": 2.5, "y": "v"}]


def test_json_files_may_lack_columns_that_others_have(bench: DatasetBench) -> None:
    bench.upload("days/a.jsonl", '{"x": 1}\n')
    bench.upload("days/b.jsonl", '{"x": 2, "y": "z"}\n')
    assert bench.prepare("store://raw/days/").rows("train") == [{"x": 1, "y": None}, {"x": 2, "y": "z"}]


@pytest.mark.parametrize(
    ("names", "uri", "sentence"),
    [
        pytest.param(
            ["a.txt"],
            "store://raw/a.txt",
            "the name raw/a.txt does not tell its format; set the source's format",
            id="an unknown ending",
        ),
        pytest.param(["d/a.csv", "d/b.jsonl"], "store://raw/d/", "are of several formats", id="several formats"),
        pytest.param([], "store://raw/../secret.csv", "is not a path in the store", id="a path out of the namespace"),
        pytest.param(
            ["d/a.csv"],
            "store://raw/d",
            "store://raw/d is a folder; name it with a / at its end: store://raw/d/",
            id="a folder",
        ),
        pytest.param([], "store://*.csv", "a glob must begin with a folder", id="a glob over the whole store"),
    ],
)
def test_a_source_that_cannot_be_taken_is_bad_configuration(
    bench: DatasetBench, names: list[str], uri: str, sentence: str
) -> None:
    for name in names:
        bench.upload(name, "x\n1\n")
    with pytest.raises(BadConfiguration) as raised:
        bench.prepare(uri)
    assert sentence in raised.value.message


def test_the_format_of_the_spec_wins_over_the_name(bench: DatasetBench) -> None:
    assert bench.prepare(bench.upload("a.txt", "x\n1\n2\n"), format="csv").rows("train") == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize("uri", ["store://raw/a.csv", "store://raw/a/", "store://raw/a*.csv"])
def test_a_source_that_does_not_appear_is_not_found(bench: DatasetBench, uri: str) -> None:
    with pytest.raises(NotFound, match=r"nothing is at .* in namespace default; upload it") as raised:
        bench.run(uri)
    assert raised.value.reason == "SourceNotFound"


@pytest.mark.parametrize(
    "name", [f"{'n' * 300}.csv", "a[1].csv", "a*.csv", "a{x}'\".csv"], ids=["long", "brackets", "a star", "quotes"]
)
def test_names_that_other_clients_gave_reach_no_disk(tmp_path: Path, name: str) -> None:
    """Another client of the bucket may name a file as the API never would."""
    store = Store.open("default", {"WINDLASS_STORE_URL": "memory:///"})
    store.write(f"raw/days/{name}", b"x\n1\n")
    files = copy(store, find(store, Source(uri="store://raw/days/")), tmp_path, check_stop=lambda: None)
    assert [(file.uri, file.local.name, file.local.read_bytes()) for file in files] == [
        (f"store://raw/days/{name}", "00000", b"x\n1\n")
    ]


def test_a_disk_without_room_is_told_with_what_it_needs() -> None:
    with pytest.raises(BadConfiguration, match="no room left") as raised, on_scratch(), Path("/dev/full").open("wb") as full:
        full.write(b"x" * 100_000)
    assert raised.value.reason == "ScratchFull"


def test_another_error_of_a_disk_is_not_called_one_of_room(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), on_scratch():
        (tmp_path / "absent").read_bytes()
