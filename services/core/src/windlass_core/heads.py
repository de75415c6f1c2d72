"""Heads of requests that were parsed before: a client sends the same one again and again, and it need be parsed but once.

A head is known by all of its bytes: what the parser made of them then, it would make of them now. Nothing here parses. Heads
that are another for each request (ids, traces) are not kept. Used on one event loop; knows no connection.
"""

from dataclasses import dataclass
from typing import Any

# A client sends a head for each length of a body. When there are too many all are forgotten.
MAX_HEADS = 1024
MAX_HEAD_BYTES = 2048

_END = b"\r\n\r\n"
_OF_ONE_REQUEST = frozenset({b"x-request-id", b"traceparent"})


@dataclass(slots=True, eq=False)
class Head:
    """What the parser made of a head. Not to be changed, but for its note.

    Attributes:
        url: as it was sent, with its query.
        path: the same as text.
        fields: headers by their names in lower case; of one that was sent twice the last.
        note: what the handler makes of it, for the next request that begins so; the handler's own.
    """

    url: bytes
    path: str
    fields: dict[bytes, bytes]
    note: Any = None

    @classmethod
    def of(cls, url: bytes, headers: list[tuple[bytes, bytes]]) -> "Head":
        """Of a parsed request; names in lower case."""
        return cls(url, url.decode("ascii"), dict(headers))


class KnownHeads:
    """Remembers heads, each with the length of the body that came behind it."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Head, int]] = {}

    def find(self, read: bytes) -> tuple[Head, bytes] | None:
        """Head and body, if what was read is exactly one request with a head that is known."""
        end = read.find(_END, 0, MAX_HEAD_BYTES) + len(_END)
        if (found := self._known.get(read[:end])) is None:
            return None
        head, length = found
        return (head, read[end:]) if len(read) - end == length else None

    def learn(self, read: bytes, head: Head, body: bytes) -> None:
        """Remember the head of a request that the parser has taken from one read; nothing if more was in it, or less."""
        end = read.find(_END, 0, MAX_HEAD_BYTES) + len(_END)
        if end < len(_END) or len(read) - end != len(body) or not _OF_ONE_REQUEST.isdisjoint(head.fields):
            return
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[read[:end]] = head, len(body)
