"""The short way of a request: from the bytes of one read to a handler and back, past ASGI and everything built on it.

A task, a scope, two messages each way and the layers of a framework cost several times what a small model takes to compute.
A request goes the short way when its path has a handler, it is a POST, nothing is unusual about it, and all of it came in one
read. Every other one (a slow, chunked or large body, `Expect`, an answer still on its way on the same connection) goes through
the ASGI application, which must be able to answer the same paths: the short way is a matter of speed alone.

This is what an application sees of it; `direct_protocol.py` is what a connection does. Knows no parser.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from windlass_core.heads import Head, KnownHeads
from windlass_core.requests import identify
from windlass_core.waiting import Borrowed, unread_seconds


class Connection(Protocol):
    """What a request needs of the connection on which it came.

    Attributes:
        socket: to be asked how long data has waited.
        received: when the request was read, in seconds of `time.perf_counter`.
        note: what the gate leaves for the handler.
    """

    socket: Borrowed | None
    received: float
    note: Any

    def direct_answer(self, request: DirectRequest, status: int, headers: bytes, body: bytes) -> None:
        """Write an answer."""


# What `DirectRequest.reply` takes.
Answer = tuple[int, bytes, bytes]


class Prepared:
    """An answer that many requests get: all but the date and the id of the request is ready to be written.

    Attributes:
        answer: for `DirectRequest.reply`.
        head: from the status on, up to where the id of the request stands.
    """

    __slots__ = ("answer", "head")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        status, headers, body = answer
        self.head = b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\n" % (
            status, HTTPStatus(status).phrase.encode(), headers, len(body),
        )  # fmt: skip


def arrived(connection: Connection) -> float:
    """When a request came to this machine, in seconds of `time.perf_counter`: before it was read where the loop was busy."""
    if connection.socket is None:
        return connection.received
    arrived = time.perf_counter() - unread_seconds(connection.socket)
    return arrived if arrived < connection.received else connection.received


class _NobodyWaits:
    """In the place of an asyncio.Event."""

    def set(self) -> None:
        """Nothing."""


_NOBODY_WAITS = _NobodyWaits()


class DirectRequest:
    """One request on the short way. Used on the event loop only.

    Attributes:
        head: of the request; its path is without a query.
        body: all of it.
        id: of the request, the caller's own or ours; it is in the answer already.
        received: when it was read, in seconds of `time.perf_counter`.
        note: what the gate leaves for the handler.
        disconnected: the client went away; an answer would be dropped.
    """

    # The last four are what uvicorn's protocol asks of the cycle in the place of which this stands.
    __slots__ = (
        "_connection", "body", "disconnected", "head", "id", "keep_alive", "message_event", "note", "received",
        "response_complete",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: Head, body: bytes, *, keep_alive: bool) -> None:
        self._connection = connection
        self.head = head
        self.body = body
        self.id = identify(head.fields)
        self.received = connection.received
        self.note = connection.note
        self.disconnected = False
        self.keep_alive = keep_alive
        self.message_event = _NOBODY_WAITS
        self.response_complete = False

    def arrived(self) -> float:
        """When it came to this machine; see `arrived`."""
        return arrived(self._connection)

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer; the first answer counts, and one to a client that went away is dropped.

        Args:
            status: of HTTP.
            headers: lines of `name: value` that end with CRLF each; the length, the date and the id of the request are added.
            body: all of it.
        """
        if not self.response_complete:
            self.response_complete = True
            self._connection.direct_answer(self, status, headers, body)


# Called on the event loop with a whole request; True: the handler has answered or will. False: take the ASGI way.
DirectHandler = Callable[[DirectRequest], bool]
# Called before the handler and for less: says why a request is refused, by what its head tells. None: ask the handler.
Gate = Callable[[Head, Connection], Prepared | None]


@dataclass
class Direct:
    """The handlers of one server, and what is to be done around them.

    Attributes:
        failed: called where the exception that a handler raised is current; gives the answer.
        handlers: by raw path, without a query. May change while the server runs.
        gates: the same, of those paths that have one.
        heads: that came before.
    """

    failed: Callable[[DirectRequest], Answer]
    handlers: dict[bytes, DirectHandler] = field(default_factory=dict)
    gates: dict[bytes, Gate] = field(default_factory=dict)
    heads: KnownHeads = field(default_factory=KnownHeads)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Header lines for `DirectRequest.reply`, to be made once and kept."""
    return b"".join(f"{name.lower()}: {value}\r\n".encode("latin-1") for name, value in headers.items())
