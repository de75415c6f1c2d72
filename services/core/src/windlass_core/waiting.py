"""How long data has waited in the kernel to be read: what a busy event loop does not see of a request's age.

Linux tells for each TCP connection when data last came. Elsewhere, and for other sockets, nothing is known and nothing is
said to have waited. Knows no HTTP.
"""

import ctypes
import socket
import sys
import time
from contextlib import suppress

# Where `struct tcp_info` of Linux has `tcpi_last_data_recv`, milliseconds, among words of 32 bits.
_LAST_DATA = 13
_Information = ctypes.c_uint32 * (_LAST_DATA + 1)
_SIZE = ctypes.sizeof(_Information)
# CLOCK_MONOTONIC_COARSE of Linux, which Python has no name for: it advances with the ticks that the kernel counts ages in.
_COARSE = 6


def _tick_seconds() -> float:
    with suppress(OSError):
        return time.clock_getres(_COARSE)
    return 0.0


# An age may be too high by one tick: what came just before it.
TICK_SECONDS = _tick_seconds()


# By its descriptor: a socket object of Python would own that of a transport, and costs three more calls. The interpreter's lock
# is kept, because giving it away takes longer than this call.
_getsockopt = ctypes.PyDLL(None).getsockopt if sys.platform == "linux" else None


def unread_seconds(descriptor: int) -> float:
    """Seconds since data last came on a connection, to within one tick of the kernel and never too many; 1 us of work.

    0 where it is not known: no TCP, no Linux, or a connection that is closed.
    """
    if _getsockopt is None:
        return 0.0
    known, size = _Information(), ctypes.c_uint32(_SIZE)
    if _getsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_INFO, known, ctypes.byref(size)) or size.value != _SIZE:
        return 0.0
    return max(known[_LAST_DATA] / 1000 - TICK_SECONDS, 0.0)
