"""What the parent and its processes say to each other: one JSON object a line, on a stream socket; and sockets, on another.

What a process says of the sockets that it has taken goes back on their own channel: there it is sent at once, before anything
is read from them, and not when the event loop comes to it. So do sockets that it gives back.

Knows how to say it, and nothing of what is meant.
"""

import array
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

# A snapshot of all metrics is some ten kilobytes; a line beyond this is no message of ours.
LINE_BYTES = 8 * 1024 * 1024
READ_BYTES = 64 * 1024
# Sockets that may be on their way to a process. With the smallest message of the kernel, twice as many fit into a channel of
# its default size, so that a process can always say at once that it has taken them.
UNTAKEN_AT_MOST = 128
_SOCKET = b"s"
_TAKEN = b"t"
_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)

Frame = dict[str, Any]


class FrameReader:
    """Frames out of a stream that arrives in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The frames that are whole with `piece`. Raises ValueError when a line is too long or no JSON object."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            raise ValueError(f"a line of more than {LINE_BYTES} bytes")
        for line in lines:
            frame = json.loads(line)
            if not isinstance(frame, dict):
                raise ValueError("a line that is no object")
            yield frame


def encode(frame: Frame) -> bytes:
    """A frame as a line."""
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"


def pass_socket(channel: socket.socket, passed: socket.socket) -> bool:
    """Hand a socket to the process at the other end; False when its queue is full or it is gone."""
    descriptor = array.array("i", [passed.fileno()])
    try:
        channel.sendmsg([_SOCKET], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)], socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def passed_sockets(channel: socket.socket, limit: int) -> Iterator[socket.socket | None]:
    """The sockets that were handed over and not taken yet, at most `limit`.

    None for one that this process has no descriptor left for: it is lost. Raises EOFError when nobody will hand over more.
    """
    for _ in range(limit):
        try:
            data, passed = _received(channel, 1)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        yield passed


def say_taken(channel: socket.socket, number: int) -> None:
    """Tell the other end that so many sockets were taken, in the order in which they were handed over, unless it is gone."""
    with suppress(ConnectionError):
        channel.send(_TAKEN * number, socket.MSG_DONTWAIT)


@dataclass(slots=True)
class Said:
    """What the other end has said of sockets.

    Attributes:
        taken: how many it has taken, in the order in which they were handed over.
        given_back: those that it wants another to have.
        lost: how many it gave back that this process had no descriptor left for.
        ended: it will say no more.
    """

    taken: int = 0
    given_back: list[socket.socket] = field(default_factory=list)
    lost: int = 0
    ended: bool = False


def said_of_sockets(channel: socket.socket) -> Said:
    """What the other end has said of sockets since this was asked last."""
    said = Said()
    while not said.ended:
        try:
            data, passed = _received(channel, UNTAKEN_AT_MOST)
        except BlockingIOError:
            break
        except ConnectionError:
            data, passed = b"", None
        said.taken += data.count(_TAKEN)
        said.ended = not data
        if passed is not None:
            said.given_back.append(passed)
        elif _SOCKET in data:
            said.lost += 1
    return said


def _received(channel: socket.socket, length: int) -> tuple[bytes, socket.socket | None]:
    """So many bytes at most, up to the first that came with a socket, and that socket; no bytes at the end.

    None in place of a socket that this process has no descriptor left for. Raises BlockingIOError when there is nothing.
    """
    # Not by socket.recv_fds, which takes flags and forgets them.
    data, found, _flags, _address = channel.recvmsg(length, _ONE_DESCRIPTOR, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    if not found:
        return data, None
    _level, _kind, passed = found[0]
    return data, socket.socket(fileno=int.from_bytes(passed, sys.byteorder))
