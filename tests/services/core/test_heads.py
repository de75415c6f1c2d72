"""A head that came before is not parsed again, and makes no difference to what is answered."""

import socket
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from windlass_core.direct import DirectRequest
from windlass_core.heads import MAX_HEAD_BYTES, MAX_HEADS, Head, KnownHeads
from windlass_core.serving import BackgroundServer, create_app

PATH = b"/echo"


def request(body: bytes, *lines: str) -> bytes:
    head = [f"POST {PATH.decode()} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


class Echo:
    """Answers with the body, and by which way it came; notes on the head how often the short way was taken."""

    def __init__(self) -> None:
        self.app: FastAPI = create_app("echo", ready=lambda: None, body_limit=MAX_HEAD_BYTES)
        self.app.state.direct.handlers[PATH] = self.direct
        self.app.post(PATH.decode())(self.asgi)
        self.declined = False

    def direct(self, request: DirectRequest) -> bool:
        request.head.note = (request.head.note or 0) + 1
        if self.declined:
            return False
        request.reply(200, b"", b"short %d %b" % (request.head.note, request.body))
        return True

    async def asgi(self, request: Request) -> Response:
        return Response(b"long %b" % await request.body())


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def connection(echo: Echo) -> Iterator[socket.socket]:
    with (
        BackgroundServer(echo.app, 0, host="127.0.0.1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connected,
    ):
        yield connected


def answer(connection: socket.socket) -> tuple[int, str, bytes]:
    response = HTTPResponse(connection, method="POST")
    response.begin()
    return response.status, response.getheader("x-request-id") or "", response.read()


def asked(connection: socket.socket, *reads: bytes) -> list[bytes]:
    """Answers to requests that are sent one after the other."""
    answers = []
    for read in reads:
        connection.sendall(read)
        answers.append(answer(connection)[2])
    return answers


def test_the_same_head_is_parsed_once_whatever_the_body_and_the_connection(connection: socket.socket) -> None:
    assert asked(connection, request(b"one"), request(b"two")) == [b"short 1 one", b"short 2 two"]
    with socket.create_connection(connection.getpeername(), timeout=10) as other:
        assert asked(other, request(b"six")) == [b"short 3 six"]


def test_another_length_is_another_head(connection: socket.socket) -> None:
    assert asked(connection, request(b"one"), request(b"four"), request(b"")) == [b"short 1 one", b"short 1 four", b"short 1 "]


def test_each_request_has_an_id_of_its_own(connection: socket.socket) -> None:
    ids = set()
    for line in ([], [], ["X-Request-Id: mine"], ["X-Request-Id: mine"]):
        connection.sendall(request(b"x", *line))
        ids.add(answer(connection)[1])
    assert len(ids) == 3
    assert "mine" in ids


def test_more_or_less_than_a_request_is_left_to_the_parser(connection: socket.socket) -> None:
    assert asked(connection, request(b"one")) == [b"short 1 one"]
    connection.sendall(request(b"two") + request(b"six"))
    first, second = answer_both(connection)
    assert (first, second) == (b"short 1 two", b"short 1 six")
    whole = request(b"ten")
    connection.sendall(whole[:-1])
    with socket.create_connection(connection.getpeername(), timeout=10) as other:
        assert asked(other, request(b"")) == [b"short 1 "]  # by now the first piece was read
    connection.sendall(whole[-1:])
    assert answer(connection)[2] == b"long ten"
    assert asked(connection, request(b"end")) == [b"short 2 end"]


def answer_both(connection: socket.socket) -> list[bytes]:
    bodies, stream = [], connection.makefile("rb")
    for _ in range(2):
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        bodies.append(stream.read(length))
    return bodies


def test_the_end_of_a_head_is_no_head(connection: socket.socket) -> None:
    whole = request(b"one")
    connection.sendall(whole[:30])
    with socket.create_connection(connection.getpeername(), timeout=10) as other:
        assert asked(other, request(b"")) == [b"short 1 "]
        connection.sendall(whole[30:])
        assert answer(connection)[2] == b"short 1 one"
        other.sendall(whole[30:])
        assert answer(other)[0] == 400


def test_a_path_that_is_gone_is_not_answered_from_memory(echo: Echo, connection: socket.socket) -> None:
    assert asked(connection, request(b"one")) == [b"short 1 one"]
    del echo.app.state.direct.handlers[PATH]
    assert asked(connection, request(b"two")) == [b"long two"]


def test_what_the_handler_declines_takes_the_long_way(echo: Echo, connection: socket.socket) -> None:
    assert asked(connection, request(b"one")) == [b"short 1 one"]
    echo.declined = True
    assert asked(connection, request(b"two"), request(b"six")) == [b"long two", b"long six"]


def test_a_head_that_asks_to_leave_does_so_each_time(connection: socket.socket) -> None:
    for _ in range(2):
        with socket.create_connection(connection.getpeername(), timeout=10) as other:
            other.sendall(request(b"one", "Connection: close"))
            assert b"".join(iter(lambda: other.recv(65536), b"")).endswith(b"short 1 one")  # called here


HEAD = Head.of(PATH, [(b"host", b"x")])


@pytest.mark.parametrize(
    ("read", "head", "body"),
    [
        pytest.param(b"POST / HTTP/1.1\r\n\r\nabc", HEAD, b"ab", id="more came than the body"),
        pytest.param(b"POST / HTTP/1.1\r\n\r\nabc", HEAD, b"abcd", id="some of the body came before"),
        pytest.param(b"", HEAD, b"", id="the head began before"),
        pytest.param(b"POST / HTTP/1.1\r\n" + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", HEAD, b"", id="it is long"),
        pytest.param(b"POST / HTTP/1.1\r\n\r\n", Head.of(PATH, [(b"x-request-id", b"1")]), b"", id="it has an id"),
        pytest.param(b"POST / HTTP/1.1\r\n\r\n", Head.of(PATH, [(b"traceparent", b"1")]), b"", id="it has a trace"),
    ],
)
def test_a_head_is_not_kept_when(read: bytes, head: Head, body: bytes) -> None:
    known = KnownHeads()
    known.learn(read, head, body)
    assert known.find(read) is None


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    known = KnownHeads()
    for number in range(MAX_HEADS):
        known.learn(b"POST /%d HTTP/1.1\r\n\r\n" % number, HEAD, b"")
    assert known.find(b"POST /0 HTTP/1.1\r\n\r\n") == (HEAD, b"")
    known.learn(b"POST / HTTP/1.1\r\n\r\nx", HEAD, b"x")
    assert known.find(b"POST /0 HTTP/1.1\r\n\r\n") is None
    assert known.find(b"POST / HTTP/1.1\r\n\r\ny") == (HEAD, b"y")
