"""How long a connection may take: to send the head of a request, to take an answer, and to ask again.

A client that sends a byte now and then, or never reads, holds a connection and memory for nothing; uvicorn bounds neither, and
has a timer for each answer after which nothing more comes. All connections are looked at once a second, so that a request costs
hardly anything for it. Bodies are bounded where they are read, because only there is known how large one may be. Knows no
application.
"""

import logging
from collections.abc import Iterable
from typing import Any

# From the first byte of a head, or the opening of a connection, to the head's end. Any client sends a head in one packet.
HEAD_SECONDS = 10.0
# Without a byte of the answer taken. Longer than any pause of a network that is still of use.
ANSWER_SECONDS = 30.0
# Without another request. Longer than the 60 s after which most clients and proxies drop an idle connection, so that they
# and not we close it: a connection closed by the server while a request is on its way is a failed request.
KEEP_ALIVE_SECONDS = 75.0
# Between two looks at all connections.
LOOK_SECONDS = 1.0

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_log = logging.getLogger(__name__)


class Patience:
    """What is known of one connection between two looks. All times are seconds on one steady clock."""

    __slots__ = ("head_begun", "head_since", "idle", "idle_since", "in_request", "unread", "unread_since")

    def __init__(self, now: float) -> None:
        self.head_since: float | None = now
        self.head_begun = False  # some of it has come
        self.in_request = False
        self.idle = False  # all is answered
        self.idle_since: float | None = None  # by the first look that found it idle
        self.unread = 0
        self.unread_since = now

    @property
    def in_middle(self) -> bool:
        """Whether some of a request has come that is not whole yet."""
        return self.head_begun or self.in_request

    def data_came(self, now: float) -> None:
        """Bytes have come; call it before they are parsed."""
        self.idle = False
        if not self.in_request:
            self.head_begun = True
            if self.head_since is None:
                self.head_since = now

    def head_ended(self) -> None:
        """A head is whole."""
        self.head_since = None
        self.head_begun = False
        self.in_request = True

    def request_ended(self) -> None:
        """A request is whole, its body too; the next bytes begin another."""
        self.head_since = None
        self.head_begun = False
        self.in_request = False
        self.idle = False

    def answered(self) -> None:
        """Nothing is left to answer."""
        self.idle = True
        self.idle_since = None

    def late_head(self, now: float) -> bool:
        """Whether a head takes too long."""
        return self.head_since is not None and now - self.head_since > HEAD_SECONDS

    def idle_for_long(self, now: float) -> bool:
        """Whether no request has come for too long."""
        if not self.idle:
            return False
        if self.idle_since is None:
            self.idle_since = now
        return now - self.idle_since > KEEP_ALIVE_SECONDS

    def unread_answer(self, waiting: int, now: float) -> bool:
        """Whether nothing of what waits to be sent was taken for too long; `waiting` is its bytes now."""
        if waiting == 0 or waiting < self.unread:
            self.unread_since = now
        self.unread = waiting
        return waiting > 0 and now - self.unread_since > ANSWER_SECONDS


def end_slow(connections: Iterable[Any], now: float) -> None:
    """End the connections that take too long; each has a `patience` and a `transport`."""
    for connection in list(connections):
        patience: Patience = connection.patience
        transport = connection.transport
        if patience.unread_answer(transport.get_write_buffer_size(), now):
            _log.info("a client took nothing of its answer for %.0f s", ANSWER_SECONDS)
            transport.abort()
        elif patience.late_head(now) and not transport.is_closing():
            _log.info("the head of a request did not come within %.0f s", HEAD_SECONDS)
            transport.write(_TOO_SLOW)
            transport.close()
        elif patience.idle_for_long(now):
            transport.close()
