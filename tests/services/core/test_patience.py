"""Connections that take too long: heads that drip, answers that nobody reads; and those that are only slow."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI

from windlass_core import patience
from windlass_core.patience import ANSWER_SECONDS, HEAD_SECONDS, KEEP_ALIVE_SECONDS, Patience
from windlass_core.serving import BackgroundServer, create_app, json_response

LOOPBACK = "127.0.0.1"
DEADLINE_SECONDS = 15.0
SHORT_SECONDS = 0.4
LARGE_BYTES = 32 * 1024 * 1024


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackgroundServer]:
    monkeypatch.setattr(patience, "HEAD_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(patience, "ANSWER_SECONDS", SHORT_SECONDS)
    app: FastAPI = create_app("Slow", ready=lambda: None)
    app.get("/large")(lambda: json_response("x" * LARGE_BYTES))
    with BackgroundServer(app, 0, host=LOOPBACK) as running:
        yield running


def connect(server: BackgroundServer) -> socket.socket:
    return socket.create_connection((LOOPBACK, server.port), timeout=DEADLINE_SECONDS)


def ended(connection: socket.socket, drip: Callable[[int], bytes]) -> bytes:
    """What came until the server ended the connection, while bytes are sent one after another."""
    connection.settimeout(0.05)
    answer, deadline, number = b"", time.monotonic() + DEADLINE_SECONDS, 0
    while time.monotonic() < deadline:
        try:
            connection.sendall(drip(number))
            number += 1
            piece = connection.recv(65536)
            if not piece:
                return answer
            answer += piece
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return answer
    raise AssertionError("the connection is still open")


def taken(connection: socket.socket) -> int:
    """Bytes that still come until the end of the connection."""
    received = 0
    try:
        while piece := connection.recv(1 << 20):
            received += len(piece)
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize(
    "drip",
    [
        lambda _number: b"",
        lambda number: b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "[number : number + 1] or b"y",
        lambda _number: b"\r\n",
    ],
    ids=["a connection that says nothing", "a head that comes byte by byte", "empty lines before a head"],
)
def test_a_head_that_does_not_come_ends_the_connection(server: BackgroundServer, drip: Callable[[int], bytes]) -> None:
    with connect(server) as connection:
        started = time.monotonic()
        answer = ended(connection, drip)
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""
        assert time.monotonic() - started >= SHORT_SECONDS


def test_a_second_request_that_drips_ends_the_connection_too(server: BackgroundServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert ended(connection, lambda number: b"GET /healthz"[number : number + 1]) in (b"", patience._TOO_SLOW)


def test_a_kept_connection_without_a_request_stays_open(server: BackgroundServer) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server) as connection, connect(server) as other:
        connection.sendall(ask)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        ended(other, lambda _: b"")  # longer than a head may take, and a look at all connections
        connection.sendall(ask)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_kept_connection_on_which_nobody_asks_again_is_closed(
    server: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "KEEP_ALIVE_SECONDS", SHORT_SECONDS)
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert connection.recv(1) == b""


def test_a_connection_is_idle_from_its_last_answer_to_its_next_request() -> None:
    known, late = Patience(0.0), 2 * KEEP_ALIVE_SECONDS
    assert not known.idle_for_long(late), "nothing was asked yet; that is bounded as a head"
    for end in (known.request_ended, lambda: known.data_came(late)):
        known.answered()
        assert not known.idle_for_long(late), "the first look notes the time"
        assert not known.idle_for_long(late + KEEP_ALIVE_SECONDS)
        assert known.idle_for_long(late + KEEP_ALIVE_SECONDS + 0.1)
        end()
        assert not known.idle_for_long(2 * late), "something is asked"


def test_an_answer_that_nobody_reads_is_given_up(server: BackgroundServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        with connect(server) as other:
            ended(other, lambda _: b"")
        with connect(server) as other:
            ended(other, lambda _: b"")
        assert taken(connection) < LARGE_BYTES


def test_an_answer_that_is_read_slowly_is_waited_for() -> None:
    known = Patience(0.0)
    known.data_came(0.0)
    known.head_ended()
    outcomes = [known.unread_answer(1000 - 10 * second, float(second)) for second in range(100)]
    assert not any(outcomes)
    assert not known.unread_answer(10, 100.0 + ANSWER_SECONDS - 1)
    assert known.unread_answer(10, 101.0 + ANSWER_SECONDS)


def test_a_body_may_take_longer_than_a_head() -> None:
    known = Patience(0.0)
    known.data_came(1.0)
    known.head_ended()
    known.data_came(HEAD_SECONDS * 3)
    assert not known.late_head(HEAD_SECONDS * 4)
    known.request_ended()
    assert not known.late_head(HEAD_SECONDS * 9)
    known.data_came(HEAD_SECONDS * 9)
    assert known.late_head(HEAD_SECONDS * 10 + 0.1)
