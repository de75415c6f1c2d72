"""The short way of a request answers as ASGI does, whatever a client sends and however it sends it."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response
from waiting import until

from windlass_core import server as server_module
from windlass_core.direct import Connection, DirectRequest, Prepared, header_lines
from windlass_core.direct_protocol import DirectProtocol
from windlass_core.heads import Head
from windlass_core.processes.crew import Give
from windlass_core.serving import BackgroundServer, create_app

ECHO = "/echo"
JSON = header_lines({"Content-Type": "application/json"})
LARGE = 300_000


class Application:
    """Echoes bodies; the header `x-way` of an answer tells by which way it came."""

    def __init__(self) -> None:
        self.app: FastAPI = create_app("echo", ready=lambda: None, body_limit=LARGE)
        self.app.state.direct.handlers[ECHO.encode()] = self.direct
        self.waiting: list[DirectRequest] = []
        self.app.post(ECHO)(self.asgi)

    def direct(self, request: DirectRequest) -> bool:
        wish = request.head.fields.get(b"x-wish")
        if wish == b"raise":
            raise ValueError("a secret")
        if wish == b"decline":
            return False
        if wish == b"wait":
            self.waiting.append(request)
            return True
        request.reply(200, header_lines({"x-way": "direct"}), request.body)
        return True

    async def asgi(self, request: Request) -> Any:
        return Response(await request.body(), headers={"x-way": "asgi"})


@pytest.fixture(scope="module")
def application() -> Application:
    return Application()


@pytest.fixture(scope="module")
def port(application: Application) -> Iterator[int]:
    with BackgroundServer(application.app, 0, host="127.0.0.1") as server:
        yield server.port


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connected:
        yield connected


def post(body: bytes, *lines: str, path: str = ECHO, method: str = "POST", version: str = "1.1") -> bytes:
    head = [f"{method} {path} HTTP/{version}", "Host: x", *lines]
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    response = HTTPResponse(connection, method="POST")
    response.begin()
    return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()


BODY = b'{"instances": [[1, 2]]}'
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
WAYS: dict[str, tuple[list[bytes], str, bytes]] = {
    "a whole request is answered the short way": ([post(BODY)], "direct", BODY),
    "an empty body is one": ([post(b"")], "direct", b""),
    "headers in any case are understood": ([post(BODY, "X-REQUEST-ID: 7")], "direct", BODY),
    "HTTP/1.0 takes the ASGI way": ([post(BODY, version="1.0")], "asgi", BODY),
    "a query takes the ASGI way": ([post(BODY, path=ECHO + "?a=1")], "asgi", BODY),
    "an escaped path takes the ASGI way": ([post(BODY, path="/%65cho")], "asgi", BODY),
    "a chunked body takes the ASGI way": ([post(CHUNKED, "Transfer-Encoding: chunked")], "asgi", BODY),
    "a body in two reads takes the ASGI way": ([post(BODY)[:-5], post(BODY)[-5:]], "asgi", BODY),
    "headers in two reads and a whole body take the short way": ([post(BODY)[:20], post(BODY)[20:]], "direct", BODY),
    "a body that the handler declines takes the ASGI way": ([post(BODY, "X-Wish: decline")], "asgi", BODY),
    "a compressed body takes the ASGI way": ([post(BODY, "Content-Encoding: identity")], "asgi", BODY),
}


@pytest.mark.parametrize(("pieces", "way", "body"), WAYS.values(), ids=WAYS.keys())
def test_ways(connection: socket.socket, port: int, pieces: list[bytes], way: str, body: bytes) -> None:
    for number, piece in enumerate(pieces):
        if number:
            wait_until_read(connection, port)
        connection.sendall(piece)
    status, headers, received = answer(connection)
    assert (status, headers["x-way"], received) == (200, way, body)
    assert headers["x-request-id"]


@pytest.mark.parametrize("sent", ["Host: x", "Connection: close"])
def test_a_gate_refuses_before_the_handler_is_asked(application: Application, connection: socket.socket, sent: str) -> None:
    refusal = Prepared((429, header_lines({"retry-after": "1"}), b"too much"))
    application.app.state.direct.gates[ECHO.encode()] = lambda head, _connection: refusal if b"x-no" in head.fields else None
    try:
        for number in range(2):  # as it is parsed, and as a head that is known
            connection.sendall(post(BODY, "X-No: 1", "X-Request-Id: mine", sent))
            status, headers, body = answer(connection)
            assert (status, headers["retry-after"], headers["x-request-id"], body) == (429, "1", "mine", b"too much")
            assert headers.get("connection") == ("close" if "close" in sent else None)
            if "close" in sent:
                assert connection.recv(1) == b""
                return
            connection.sendall(post(BODY, "X-Number: 1"))
            assert answer(connection)[2] == BODY, number
    finally:
        application.app.state.direct.gates.clear()


def test_a_gate_that_fails_leaves_it_to_the_handler(application: Application, connection: socket.socket) -> None:
    def fails(_head: Head, _connection: Connection) -> None:
        raise ValueError("a secret")

    application.app.state.direct.gates[ECHO.encode()] = fails
    try:
        connection.sendall(post(BODY))
        assert answer(connection)[::2] == (200, BODY)
    finally:
        application.app.state.direct.gates.clear()


def test_a_connection_leaves_when_nothing_is_under_way_on_it(application: Application) -> None:
    given: list[socket.socket] = []

    def give(leaving: socket.socket) -> bool:
        given.append(leaving.dup())
        return True

    with BackgroundServer(application.app, 0, host="127.0.0.1") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:

            def leave(by: Give = give) -> bool:
                """On the event loop, and not here: the connection is its own."""
                (connection,) = server._server.server_state.connections
                assert isinstance(connection, DirectProtocol)
                left: Future[bool] = Future()
                connection.loop.call_soon_threadsafe(lambda: left.set_result(connection.leave(by)))
                return left.result(10)

            client.sendall(post(BODY, "X-Wish: wait"))
            until(lambda: application.waiting)
            assert not leave(), "a request waits for its answer"
            application.waiting.pop().reply(200, b"", b"")
            assert answer(client)[0] == 200
            client.sendall(post(BODY)[:20])
            until(lambda: unread(client.getsockname()[1]) == 0)
            assert not leave(), "a request has begun"
            client.sendall(post(BODY)[20:])
            assert answer(client)[0] == 200
            assert not leave(lambda _: False), "nobody takes it"
            assert given == []
            assert leave()
            (elsewhere,) = given
            with elsewhere:
                client.sendall(b"what comes now")
                elsewhere.settimeout(10)
                assert elsewhere.recv(100) == b"what comes now"
                elsewhere.sendall(b"is answered elsewhere")
                assert client.recv(100) == b"is answered elsewhere"
        until(lambda: not server._server.server_state.connections)


def wait_until_read(connection: socket.socket, port: int) -> None:
    """Until the server has read what was sent and handled it: the next piece then comes in another read."""
    until(lambda: unread(connection.getsockname()[1]) == 0)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
        other.sendall(post(b""))
        assert answer(other)[0] == 200


def unread(client_port: int) -> int:
    """Bytes in the receive queue of the server's end of the connection from this port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].rpartition(":")[2], 16) == client_port:
            return int(fields[4].split(":")[1], 16)
    return 0


def test_expect_is_told_to_continue(connection: socket.socket) -> None:
    request = post(BODY, "Expect: 100-continue")
    connection.sendall(request[: -len(BODY)])
    assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
    connection.sendall(BODY)
    assert answer(connection)[2] == BODY


def test_a_large_body_is_refused_by_the_way_that_bounds_it(connection: socket.socket) -> None:
    connection.sendall(post(b"x" * (LARGE + 1))[:400_000])
    assert answer(connection)[0] == 413


def test_requests_in_one_segment_are_answered_in_order(connection: socket.socket) -> None:
    bodies = [b"%d" % number for number in range(20)]
    connection.sendall(b"".join(map(post, bodies)))
    stream = connection.makefile("rb")
    assert [read_one(stream) for _ in bodies] == bodies


def test_a_request_behind_one_that_waits_is_answered_after_it(application: Application, connection: socket.socket) -> None:
    connection.sendall(post(b"first", "X-Wish: wait") + post(b"second"))
    until(lambda: len(application.waiting) == 1)
    request = application.waiting.pop()
    reply_from_outside(request, b"late")
    stream = connection.makefile("rb")
    assert [read_one(stream), read_one(stream)] == [b"late", b"second"]


def protocol_of(request: DirectRequest) -> DirectProtocol:
    assert isinstance(request._connection, DirectProtocol)
    return request._connection


def reply_from_outside(request: DirectRequest, body: bytes) -> None:
    protocol_of(request).loop.call_soon_threadsafe(request.reply, 200, b"", body)


def read_one(stream: Any) -> bytes:
    length = 0
    while (line := stream.readline()) != b"\r\n":
        assert line, "the connection ended"
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return bytes(stream.read(length))


def test_an_answer_to_a_client_that_went_away_is_dropped(application: Application, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as leaving:
        leaving.sendall(post(b"", "X-Wish: wait"))
        until(lambda: len(application.waiting) == 1)
    request = application.waiting.pop()
    until(lambda: request.disconnected)
    reply_from_outside(request, b"late")
    until(lambda: request.response_complete)


def test_a_connection_cut_with_a_request_behind_another_fails_neither_the_answer_nor_the_count(
    application: Application, port: int, connection: socket.socket
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        slow.sendall(post(b"first", "X-Wish: wait") + post(b"second"))
        until(lambda: len(application.waiting) == 1)
        request = application.waiting.pop()
        protocol_of(request).loop.call_soon_threadsafe(
            protocol_of(request).transport.abort
        )  # as a client is that takes nothing
        until(lambda: request.disconnected)
    reply_from_outside(request, b"late")
    until(lambda: request.response_complete)
    until(lambda: metric(connection, "windlass_http_requests_in_flight") == 1)  # the one that asks


def test_an_error_of_a_handler_is_told_without_its_text(connection: socket.socket) -> None:
    connection.sendall(post(BODY, "X-Wish: raise", "X-Request-Id: mine"))
    status, headers, body = answer(connection)
    assert (status, headers["content-type"], headers["x-request-id"]) == (500, "application/problem+json", "mine")
    assert b"secret" not in body
    assert b'"requestId":"mine"' in body


def test_a_client_that_asks_for_it_has_its_connection_closed(connection: socket.socket) -> None:
    connection.sendall(post(BODY, "Connection: close"))
    received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"\r\nconnection: close\r\n" in received
    assert received.endswith(BODY)


@pytest.mark.parametrize("path", [ECHO, "/healthz"], ids=["answered the short way", "answered the ASGI way"])
def test_a_request_whose_head_has_begun_when_the_server_leaves_is_answered_and_told_to_leave(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(server_module, "BACKGROUND_DRAIN_SECONDS", 30)
    with (
        BackgroundServer(Application().app, 0, host="127.0.0.1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as late,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as idle,
    ):
        for connection in (late, idle):
            connection.sendall(post(BODY))
            assert answer(connection)[0] == 200
        request = post(b"", path=path, method="POST" if path == ECHO else "GET")
        late.sendall(request[:20])
        wait_until_read(late, server.port)
        server._server.should_exit = True
        assert idle.recv(1) == b"", "what is idle is closed"
        late.sendall(request[20:])
        status, headers, _ = answer(late)
        assert (status, headers["connection"]) == (200, "close")
        assert late.recv(1) == b""


def test_a_request_that_waits_to_be_read_when_the_server_leaves_is_answered(
    application: Application, connection: socket.socket
) -> None:
    connection.sendall(post(b"first", "X-Wish: wait"))
    until(lambda: len(application.waiting) == 1)
    request = application.waiting.pop()
    reply_from_outside(request, b"first")
    assert answer(connection)[2] == b"first"

    def leave() -> None:
        until(lambda: unread(connection.getsockname()[1]) > 0)
        protocol_of(request).shutdown()

    protocol_of(request).loop.call_soon_threadsafe(leave)
    connection.sendall(post(b"second"))
    assert answer(connection)[2] == b"second"


def test_requests_are_measured_and_none_is_left_in_flight(connection: socket.socket) -> None:
    count = 'windlass_http_request_duration_seconds_count{method="POST",route="/echo",status="200"}'
    before = metric(connection, count)
    connection.sendall(post(BODY))
    assert answer(connection)[1]["x-way"] == "direct"
    assert metric(connection, count) == before + 1
    until(lambda: metric(connection, "windlass_http_requests_in_flight") == 1)  # the one that asks


def metric(connection: socket.socket, name: str) -> float:
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    lines = answer(connection)[2].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
