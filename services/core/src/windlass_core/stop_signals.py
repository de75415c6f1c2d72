"""SIGTERM and SIGINT as an event that is set at once, whatever the main thread does.

Python calls its handlers in the main thread, and only when that thread runs again. A signal that the kernel gives to another
thread, or to the main one just before it begins to wait for a lock, would be heard after that wait: maybe at the end of the
run. What is written at once, by whichever thread got the signal, is the byte for `signal.set_wakeup_fd`; a thread reads it.
Knows no run.
"""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_HANDLED = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(stop_requested: threading.Event) -> Iterator[None]:
    """Within it SIGTERM and SIGINT set the event and do nothing else. To be called in the main thread."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    listener = threading.Thread(target=_listen, args=(reading, stop_requested), name="stop-signals", daemon=True)
    listener.start()
    # Only a signal with a handler of Python's is written; what handles it here is the listener.
    before = {number: signal.signal(number, _heard_by_listener) for number in _HANDLED}
    descriptor_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        listener.join()
        reading.close()


def _listen(reading: socket.socket, stop_requested: threading.Event) -> None:
    while numbers := reading.recv(1):
        if numbers[0] in _HANDLED:
            stop_requested.set()


def _heard_by_listener(*_: object) -> None:
    pass
