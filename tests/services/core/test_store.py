"""The store keeps bytes within one namespace, and exactly one of many creators wins. The same table for a folder and for S3."""

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import duckdb
import obstore
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
import pytest

from windlass_core.errors import BadConfiguration, Conflict, NotFound, Unavailable, WindlassError
from windlass_core.store import MOST_BYTES, Store, checked, path_of


@pytest.fixture
def store(store_environment: dict[str, str]) -> Store:
    return Store.open("team", store_environment)


def test_what_was_written_is_read_back_listed_and_found(store: Store) -> None:
    store.write("raw/a/x.csv", b"1")
    store.write("raw/b/y.csv", b"22")
    assert store.read("raw/a/x.csv") == b"1"
    assert {(entry.path, entry.bytes) for entry in store.list("raw")} == {("raw/a/x.csv", 1), ("raw/b/y.csv", 2)}
    assert store.folders("raw") == ["a", "b"]
    assert store.head("raw/b/y.csv").bytes == 2


def test_a_prefix_is_a_folder_not_the_start_of_a_name(store: Store) -> None:
    store.write("models/digits/1/claim.json", b"{}")
    store.write("models/digits-large/7/claim.json", b"{}")
    assert [entry.path for entry in store.list("models/digits")] == ["models/digits/1/claim.json"]
    assert store.folders("models/digits") == ["1"]


def test_a_second_creator_is_refused_and_the_first_content_stays(store: Store) -> None:
    store.create("claim", b"first")
    with pytest.raises(Conflict):
        store.create("claim", b"second")
    assert store.read("claim") == b"first"


def test_a_repeated_create_of_the_same_content_succeeds_because_an_answer_may_have_been_lost(store: Store) -> None:
    store.create("claim", b"same")
    store.create("claim", b"same")


def test_of_sixteen_creators_at_once_exactly_one_wins(store: Store) -> None:
    start = threading.Barrier(16)
    won: list[int] = []

    def create(number: int) -> None:
        start.wait()
        try:
            store.create("race", b"%d" % number)
        except Conflict:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("race") == b"%d" % won[0]


def test_a_large_file_is_uploaded_in_parts_and_downloaded_with_its_digest(store: Store, tmp_path: Path) -> None:
    # 12 MiB is more than two parts of a multipart upload.
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 48 * 1024)
    store.upload("large", source)
    digest = store.download("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert digest.startswith("sha256:")


def test_a_file_beyond_what_s3_takes_is_refused_before_it_is_sent(store: Store) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        raise AssertionError("no byte is asked for")
        yield b""

    async def upload() -> None:
        await store.upload_stream("raw/huge", nothing(), size=MOST_BYTES + 1)

    with pytest.raises(BadConfiguration, match="1,342,177,280,000 are the most") as raised:
        anyio.run(upload)
    assert raised.value.reason == "TooLarge"


def test_a_file_of_more_than_ten_thousand_usual_parts_has_larger_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """S3 refuses part 10,001; with parts of 5 MiB, the client's own choice, a file would end at 52 GB."""
    sizes: list[int] = []
    monkeypatch.setattr(obstore, "put", lambda *_, chunk_size, max_concurrency: sizes.append(chunk_size * max_concurrency))
    local = tmp_path / "local"
    for size in (1, 10**12):
        with local.open("wb") as file:
            file.truncate(size)  # takes no room on the disk
        store.upload("raw/large", local)
    assert sizes[0] == 2 * 8 * 1024 * 1024
    assert sizes[1] // 2 * 10_000 >= 10**12


def test_a_tag_tells_contents_of_one_size_and_second_apart(store: Store) -> None:
    store.write("raw/x", b"1")
    before = store.head("raw/x")
    assert next(store.list("raw")).tag == before.tag
    store.write("raw/x", b"2")
    assert store.head("raw/x").tag != before.tag


def test_a_stream_that_breaks_leaves_nothing(store: Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 6 * 1024 * 1024
        raise ConnectionError("the client went away")

    async def upload() -> None:
        await store.upload_stream("raw/broken", broken())

    with pytest.raises((WindlassError, ConnectionError)):
        anyio.run(upload)
    with pytest.raises(NotFound):
        store.head("raw/broken")


def test_namespaces_do_not_see_each_other(store: Store, store_environment: dict[str, str]) -> None:
    store.write("raw/secret.csv", b"x")
    other = Store.open("other", store_environment)
    assert list(other.list("raw")) == []
    with pytest.raises(NotFound):
        other.read("raw/secret.csv")


def test_reading_and_deleting_what_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound, match="nothing is at store://raw/absent"):
        store.read("raw/absent")
    store.delete(["raw/absent"])
    assert store.folders("nothing") == []


def write(store: Store, path: str, _local: Path) -> None:
    store.write(path, b"2")


def create(store: Store, path: str, _local: Path) -> None:
    store.create(path, b"2")


def upload(store: Store, path: str, local: Path) -> None:
    local.write_bytes(b"2")
    store.upload(path, local)


def stream(store: Store, path: str, _local: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"2"

    anyio.run(store.upload_stream, path, chunks())


@pytest.mark.parametrize("how", [write, create, upload, stream])
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        pytest.param("raw/file/x", "a file is where its path needs a folder", id="below a file"),
        pytest.param("raw/file/x/y", "a file is where its path needs a folder", id="far below a file"),
        pytest.param("raw/folder", "it is a folder|something else is at", id="over a folder"),
    ],
)
def test_a_path_is_a_file_or_a_folder_never_both(
    store: Store, tmp_path: Path, how: Callable[[Store, str, Path], None], path: str, sentence: str
) -> None:
    store.write("raw/file", b"1")
    store.write("raw/folder/x", b"1")
    with pytest.raises(Conflict, match=sentence):
        how(store, path, tmp_path / "local")
    assert (store.read("raw/file"), store.read("raw/folder/x")) == (b"1", b"1")
    assert list(store.list("raw/file")) == []


def test_below_a_file_nothing_is_found(store: Store) -> None:
    store.write("raw/file", b"1")
    with pytest.raises(NotFound):
        store.read("raw/file/x")
    with pytest.raises(NotFound):
        store.head("raw/file/x")
    assert (list(store.list("raw/file/x")), store.folders("raw/file")) == ([], [])
    store.delete(["raw/file/x"])
    assert store.read("raw/file") == b"1"


def test_duckdb_reads_one_file_and_a_glob_by_their_uri(store: Store) -> None:
    store.write("raw/a.csv", b"x,y\n1,2\n")
    store.write("raw/b.csv", b"x,y\n3,4\n")
    connection = duckdb.connect()
    connection.register_filesystem(store.filesystem())
    assert connection.sql("SELECT * FROM read_csv('store://raw/a.csv')").fetchall() == [(1, 2)]
    assert connection.sql("SELECT * FROM read_csv('store://raw/*.csv') ORDER BY x").fetchall() == [(1, 2), (3, 4)]


def test_pyarrow_writes_and_reads_parquet(store: Store) -> None:
    filesystem = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store.filesystem()))
    table = pa.table({"a": [1, 2, 3]})
    pyarrow.parquet.write_table(table, "parts/one.parquet", filesystem=filesystem)
    assert pyarrow.parquet.read_table("parts/one.parquet", filesystem=filesystem).equals(table)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../other/raw/x", "raw//x", "raw/./x", "raw/../../x", "raw/\nx"])
def test_a_path_that_leaves_the_namespace_is_refused(path: str) -> None:
    with pytest.raises(BadConfiguration, match="is not a path in the store"):
        checked(path)


@pytest.mark.parametrize(
    ("uri", "path"),
    [("store://raw/x.csv", "raw/x.csv"), ("store://raw/folder/", "raw/folder/"), ("store://raw/*.csv", "raw/*.csv")],
)
def test_a_uri_names_a_path_of_the_namespace(uri: str, path: str) -> None:
    assert path_of(uri) == path


@pytest.mark.parametrize("uri", ["s3://bucket/x", "raw/x.csv", "store:///x", "store://", "store://../x"])
def test_another_uri_is_refused(uri: str) -> None:
    with pytest.raises(BadConfiguration):
        path_of(uri)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://host/bucket",
        "bucket",
        "ftp://x",
        "s3://",
        "s3:///x",
        "s3://bucket?x=1",
        "s3://bucket/a#b",
        "file://a/b",
        "file:a",
    ],
)
def test_a_store_url_of_another_kind_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(BadConfiguration, match="must be s3://"):
        Store.open("team", {"WINDLASS_STORE_URL": url})


@pytest.mark.parametrize("namespace", ["", "Team", "a/b", "..", "-a", "a" * 64])
def test_what_is_no_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(BadConfiguration, match="is not a Kubernetes namespace"):
        Store.open(namespace, {"WINDLASS_STORE_URL": "memory:///"})


def test_a_namespace_may_be_called_as_a_folder_in_it(store_environment: dict[str, str]) -> None:
    store = Store.open("raw", store_environment)
    store.write("raw/raw/x.csv", b"a\n1\n")
    assert [entry.path for entry in store.list("raw")] == ["raw/raw/x.csv"]
    files = store.filesystem()
    assert (files.glob("raw/*/*.csv"), files.info("store://raw/raw/x.csv")["name"]) == (["raw/raw/x.csv"], "raw/raw/x.csv")
    assert files.info("raw/raw")["type"] == "directory"
    with pytest.raises(FileNotFoundError):
        files.info("raw/none")


def test_a_look_into_a_namespace_leaves_no_folder_behind_and_a_file_makes_it(tmp_path: Path) -> None:
    environment = {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}
    store = Store.open("nobody", environment)
    assert list(store.list("raw")) == store.folders("models") == []
    store.delete(["raw/x"])
    for look in (store.read, store.head, lambda path: list(store.chunks(path))):
        with pytest.raises(NotFound):
            look("raw/x")
    assert list((tmp_path / "store").iterdir()) == []
    store.write("raw/x", b"1")
    assert Store.open("nobody", environment).read("raw/x") == b"1"


def test_a_folder_that_cannot_be_written_is_said_to_be_unavailable(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder is needed")
    with pytest.raises(Unavailable, match="does not answer"):
        Store.open("team", {"WINDLASS_STORE_URL": f"file://{blocked}"}).write("x", b"1")
