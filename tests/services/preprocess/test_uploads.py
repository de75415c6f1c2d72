import base64
import hashlib
import socket
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
from upload_bodies import DATA, PART, announced, hex_digest, left_over, part_of, pieces
from waiting import until

from windlass_core.serving import BackgroundServer
from windlass_core.store import Store
from windlass_preprocess import uploads
from windlass_preprocess.app import create
from windlass_preprocess.bodies import Bodies

LOOPBACK = "127.0.0.1"
URL = "raw/folder/data.bin"  # below the namespace


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 1,000 bytes, so that a file of 5,300 has six."""
    monkeypatch.setattr(uploads, "PART_BYTES", PART)


@pytest.mark.parametrize("data", [b"x", DATA[:PART], DATA], ids=["one byte", "one part", "many parts"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length announced", "chunked"])
@pytest.mark.parametrize("headers", [{}, announced], ids=["without a digest", "with a digest"])
def test_a_file_arrives_whole(client: httpx.Client, store: Store, data: bytes, chunked: bool, headers: Any) -> None:
    given = headers(data) if callable(headers) else headers
    response = client.put(URL, content=pieces(data) if chunked else data, headers=given)
    assert response.status_code == 201
    assert response.json() == {
        "uri": "store://raw/folder/data.bin",
        "bytes": len(data),
        "complete": True,
        "digest": f"sha256:{hex_digest(data)}",
    }
    assert response.headers["repr-digest"] == announced(data)["Repr-Digest"]
    assert store.read("raw/folder/data.bin") == data
    assert left_over(store) == []


def test_a_file_replaces_another_and_says_so(client: httpx.Client, store: Store) -> None:
    assert client.put(URL, content=b"first").status_code == 201
    assert client.put(URL, content=b"second", headers=announced(b"second")).status_code == 200
    assert client.put(URL, content=b"third").status_code == 200
    assert store.read("raw/folder/data.bin") == b"third"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda d: {"Repr-Digest": f"sha-256=:{base64.b64encode(d).decode()}:"}, id="Repr-Digest"),
        pytest.param(
            lambda d: {"Repr-Digest": f"md5=:AA==:, sha-256=:{base64.b64encode(d).decode()}:"}, id="beside another algorithm"
        ),
        pytest.param(lambda d: {"Content-Digest": f"sha-256=:{base64.b64encode(d).decode()}:"}, id="Content-Digest"),
        pytest.param(lambda d: {"X-Content-SHA256": d.hex().upper()}, id="X-Content-SHA256, in capitals"),
    ],
)
def test_a_wrong_digest_is_422_and_leaves_what_was_there(client: httpx.Client, store: Store, headers: Any) -> None:
    client.put(URL, content=b"before")
    for data in (b"small", DATA):
        wrong = headers(hashlib.sha256(b"other").digest())
        response = client.put(URL, content=data, headers=wrong)
        assert (response.status_code, response.json()["reason"]) == (422, "DigestMismatch")
        assert hex_digest(data) in response.json()["detail"]
        assert store.read("raw/folder/data.bin") == b"before"
        assert left_over(store) == []
        right = headers(hashlib.sha256(data).digest())
        assert client.put(URL, content=data, headers=right).status_code == 200
        client.put(URL, content=b"before")


def test_a_file_may_come_in_parts_of_any_size(client: httpx.Client, store: Store) -> None:
    for start, end in ((0, 1500), (1500, 1501), (1501, 4600)):
        response = client.put(URL, content=DATA[start:end], headers=part_of(DATA, start, end))
        assert (response.status_code, response.headers["upload-offset"]) == (202, str(end))
        assert (response.headers["upload-complete"], response.json()["complete"]) == ("?0", False)
        assert client.get(URL).status_code == 404
        assert client.get("raw").json()["files"] == []
    response = client.put(URL, content=DATA[4600:], headers=part_of(DATA, 4600, len(DATA)))
    assert response.status_code == 201
    assert store.read("raw/folder/data.bin") == DATA
    assert left_over(store) == []


def test_head_tells_how_far_an_upload_is(client: httpx.Client) -> None:
    def asked() -> tuple[str, str]:
        response = client.head(URL, headers=announced(DATA))
        assert response.status_code == 200
        return response.headers["upload-offset"], response.headers["upload-complete"]

    assert asked() == ("0", "?0")
    client.put(URL, content=DATA[:2500], headers=part_of(DATA, 0, 2500))
    assert asked() == ("2500", "?0")
    client.put(URL, content=DATA[2500:], headers=part_of(DATA, 2500, len(DATA)))
    assert asked() == (str(len(DATA)), "?1")
    repeated = client.put(URL, content=DATA[2500:], headers=part_of(DATA, 2500, len(DATA)))
    assert repeated.json()["complete"], "a client that missed the answer may send the last part again"
    client.put(URL, content=b"another file")
    assert asked() == ("0", "?0")


def wait_for_offset(client: httpx.Client, wanted: int) -> None:
    def offset() -> str:
        return client.head(URL, headers=announced(DATA)).headers["upload-offset"]

    until(lambda: offset() == str(wanted), f"an offset of {wanted}", offset)


def test_an_interrupted_body_is_kept_and_resumed_by_another_server(
    client: httpx.Client, store: Store, store_environment: dict[str, str]
) -> None:
    lines = [f"PUT {client.base_url.path}{URL} HTTP/1.1", "Host: x", f"Content-Length: {len(DATA)}"]
    lines += [f"{key}: {value}" for key, value in announced(DATA).items()]
    with socket.create_connection((LOOPBACK, client.base_url.port or 0), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + DATA[:3700])
        wait_for_offset(client, 3000)
    wait_for_offset(client, 3700)
    assert client.get(URL).status_code == 404
    with BackgroundServer(create(store_environment), 0, host=LOOPBACK) as other:
        url = f"http://{LOOPBACK}:{other.port}{client.base_url.path}{URL}"
        response = httpx.put(url, content=DATA[3700:], headers=part_of(DATA, 3700, len(DATA)), timeout=30)
    assert response.status_code == 201
    assert store.read("raw/folder/data.bin") == DATA


def test_an_interrupted_body_without_a_digest_leaves_nothing(api: str, client: httpx.Client, store: Store) -> None:
    client.put(URL, content=b"before")
    with socket.create_connection((LOOPBACK, client.base_url.port or 0), timeout=10) as connection:
        connection.sendall(
            f"PUT {client.base_url.path}{URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n".encode() + DATA
        )
    series = "windlass_http_requests_in_flight 1.0"  # the request that asks is in flight itself
    until(lambda: series in httpx.get(f"{api}/metrics", timeout=10).text, "the end of the interrupted request")
    assert client.get(URL).content == b"before"
    assert left_over(store) == []


def test_a_client_that_stops_sending_is_answered_and_makes_room_for_another(
    store_environment: dict[str, str], store: Store
) -> None:
    headers = "".join(f"{key}: {value}\r\n" for key, value in announced(DATA).items())
    path = f"/v1/namespaces/{store.namespace}/{URL}"
    app = create(store_environment, bodies=Bodies(at_once=1, window=0.5))
    with (
        BackgroundServer(app, 0, host=LOOPBACK) as server,
        socket.create_connection((LOOPBACK, server.port), timeout=10) as silent,
        httpx.Client(base_url=f"http://{LOOPBACK}:{server.port}", timeout=30) as client,
    ):
        silent.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n{headers}\r\n".encode() + DATA[:1200])
        answer = silent.recv(10_000).decode()
        assert answer.startswith("HTTP/1.1 408")
        assert "goes on from what was kept" in answer
        assert client.head(path, headers=announced(DATA)).headers["upload-offset"] == "1200"
        assert client.put(path, content=DATA[1200:], headers=part_of(DATA, 1200, len(DATA))).status_code == 201


def test_uploads_of_different_files_to_one_path_never_mix(client: httpx.Client, store: Store) -> None:
    other = bytes(reversed(DATA))
    for start in range(0, len(DATA), 1300):
        end = min(start + 1300, len(DATA))
        for data in (DATA, other):
            assert client.put(URL, content=data[start:end], headers=part_of(data, start, end)).status_code in (200, 201, 202)
    assert store.read("raw/folder/data.bin") == other


def test_a_part_at_the_wrong_place_is_409_and_tells_the_right_one(client: httpx.Client) -> None:
    client.put(URL, content=DATA[:1500], headers=part_of(DATA, 0, 1500))
    for start in (1000, 2000):
        response = client.put(URL, content=DATA[start:3000], headers=part_of(DATA, start, 3000))
        assert (response.status_code, response.json()["reason"]) == (409, "OffsetMismatch")
        assert response.headers["upload-offset"] == "1500"
        assert "1,500 bytes are there" in response.json()["detail"]


def test_an_upload_that_begins_again_wins_over_older_parts(client: httpx.Client, store: Store) -> None:
    client.put(URL, content=DATA[:2300], headers=part_of(DATA, 0, 2300))
    assert client.put(URL, content=DATA, headers=announced(DATA)).status_code == 201
    assert store.read("raw/folder/data.bin") == DATA


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        pytest.param({"Repr-Digest": "md5=:AAAA:"}, "Repr-Digest must hold a SHA-256 digest", id="another algorithm"),
        pytest.param({"Repr-Digest": "sha-256=:AAAA:"}, "Repr-Digest must hold a SHA-256 digest", id="a short digest"),
        pytest.param({"Repr-Digest": "sha-256=abc"}, "Repr-Digest must hold a SHA-256 digest", id="not a structured field"),
        pytest.param({"X-Content-SHA256": "abc"}, "must be 64 hexadecimal digits", id="a short hexadecimal digest"),
        pytest.param(announced(b"a") | {"X-Content-SHA256": "0" * 64}, "announce different digests", id="two digests"),
        pytest.param(
            {"Content-Range": "bytes 0-4/10"}, "a part of a file needs the digest of the whole", id="a part without a digest"
        ),
        pytest.param(
            announced(b"a") | {"Content-Range": "bytes 0-4/*"}, "Content-Range is 'bytes 0-4/*'", id="an unknown size"
        ),
        pytest.param(
            announced(b"a") | {"Content-Range": "bytes 5-4/10"}, "Content-Range is 'bytes 5-4/10'", id="a range backwards"
        ),
        pytest.param(announced(b"a") | {"Content-Range": "bytes 0-10/10"}, "Content-Range is", id="a range beyond the file"),
        pytest.param(
            {"Content-Digest": announced(b"a")["Repr-Digest"], "Content-Range": "bytes 0-4/10"},
            "Content-Digest speaks of the part alone",
            id="the digest of a part",
        ),
    ],
)
def test_headers_that_cannot_be_followed_are_400(client: httpx.Client, headers: dict[str, str], sentence: str) -> None:
    response = client.put(URL, content=b"12345", headers=headers)
    assert response.status_code == 400
    assert sentence in response.json()["detail"]


@pytest.mark.parametrize("headers", [{}, announced(b"")], ids=["without a digest", "with a digest"])
def test_an_empty_body_is_refused(client: httpx.Client, store: Store, headers: dict[str, str]) -> None:
    response = client.put(URL, content=b"", headers=headers)
    assert (response.status_code, response.json()["reason"]) == (422, "EmptyBody")
    assert list(store.list("raw")) == []


def test_a_body_longer_than_its_range_is_refused(client: httpx.Client) -> None:
    response = client.put(URL, content=DATA[:50], headers=part_of(DATA, 0, 40))
    assert response.status_code == 422
    assert "longer than the 40 bytes" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        pytest.param("a/%2e%2e/%2e%2e/other/raw/x", "is not a path in the store", id="out of the namespace"),
        pytest.param("a//b", "is not a path in the store", id="an empty part"),
        pytest.param("a%00b", "is not a path in the store", id="a control character"),
        pytest.param("folder/", "is a folder; name a file", id="a folder"),
        pytest.param("a*.csv", "which means a pattern", id="a pattern"),
        pytest.param("x" * 901, "has 901 bytes; 900 are the most", id="too long"),
        pytest.param(f"folder/{'x' * 256}/y", "a name in the path has 256 bytes; 255 are the most", id="a name too long"),
        pytest.param("data.csv%2312", "ends with # and a number", id="as unfinished files are named"),
    ],
)
def test_a_path_that_is_none_is_400(client: httpx.Client, path: str, sentence: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        response = client.request(method, f"raw/{path}", content=b"x" if method == "PUT" else None)
        assert response.status_code == 400
        assert sentence in response.json()["detail"]


def test_an_upload_with_a_digest_sweeps(client: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("uploads/aa/bb/00000000000000000000", b"old")
    monkeypatch.setattr(uploads, "KEEP_PARTS", timedelta(0) - timedelta(hours=1))
    assert client.put(URL, content=DATA, headers=announced(DATA)).status_code == 201
    assert left_over(store) == []


def test_uploads_wait_for_their_turn_and_are_told_when_it_does_not_come(
    store_environment: dict[str, str], store: Store
) -> None:
    path = f"/v1/namespaces/{store.namespace}/{URL}"
    app = create(store_environment, bodies=Bodies(at_once=1, window=30, wait=0.2))
    with (
        BackgroundServer(app, 0, host=LOOPBACK) as server,
        socket.create_connection((LOOPBACK, server.port), timeout=10) as holder,
        httpx.Client(base_url=f"http://{LOOPBACK}:{server.port}", timeout=30) as client,
    ):
        holder.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nbegun".encode())
        in_flight = "windlass_http_requests_in_flight 2.0"  # the request that asks is in flight itself
        deadline = time.monotonic() + 10
        while in_flight not in client.get("/metrics").text:
            assert time.monotonic() < deadline, "the first upload begins"
        response = client.put(path, content=b"x")
    assert (response.status_code, response.json()["reason"]) == (503, "TooManyUploads")
    assert "1 uploads are under way" in response.json()["detail"]


@pytest.mark.parametrize(("headers", "status"), [({}, 422), (announced(DATA), 201)], ids=["without a digest", "with a digest"])
def test_a_body_of_untold_size_has_a_bound_where_it_is_streamed_to_its_place(
    client: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: int
) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES_UNANNOUNCED", len(DATA) - 1)
    assert client.put(URL, content=pieces(DATA), headers=headers).status_code == status
    assert len(list(store.list("raw"))) == (status == 201)
    assert client.put(URL, content=DATA).status_code in (200, 201)
