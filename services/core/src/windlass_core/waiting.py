"""How long data has waited in the kernel to be read: what a busy event loop does not see of a request's age.

Linux tells for each TCP connection when data last came. Elsewhere, and for other sockets, nothing is known and nothing is
said to have waited. Knows no HTTP.
"""

import fcntl
import socket
import sys
import termios
import time
from array import array
from asyncio import BaseTransport
from contextlib import suppress

# Where `struct tcp_info` of Linux has `tcpi_last_data_recv`, milliseconds in 32 bits.
_OFFSET = 52
_SIZE = _OFFSET + 4
# CLOCK_MONOTONIC_COARSE of Linux, which Python has no name for: it advances with the ticks that the kernel counts ages in.
_COARSE = 6


def _tick_seconds() -> float:
    with suppress(OSError):
        return time.clock_getres(_COARSE)
    return 0.0


# An age may be too high by one tick: what came just before it.
TICK_SECONDS = _tick_seconds()


class Borrowed(socket.socket):
    """The socket of a transport, to be asked and never to be closed: uvloop makes a new object each time it is asked itself."""

    def __del__(self) -> None:
        self.detach()


def borrowed(transport: BaseTransport) -> Borrowed | None:
    """The socket of a transport, to be let go of before that closes it; None where nothing is known of its data."""
    shown = transport.get_extra_info("socket")
    if sys.platform != "linux" or shown is None or shown.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return Borrowed(shown.family, shown.type, shown.proto, shown.fileno())


def unread_seconds(connection: Borrowed) -> float:
    """Seconds since data last came on a TCP connection, to within one tick of the kernel and never too many; 1 us of work.

    0 where it is not known, as on a connection that is broken.
    """
    try:
        known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return 0.0
    age = int.from_bytes(known[_OFFSET:], sys.byteorder) / 1000 - TICK_SECONDS
    return age if age > 0 else 0.0


def unread_bytes(transport: BaseTransport) -> int:
    """What the kernel has received on a connection that is open, and nobody has read yet."""
    count = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    return count[0]
