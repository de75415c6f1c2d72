"""What the user sees: one line per step, with the time it took.

Knows: printing. Must not know: what the steps do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PROGRESS_EVERY_SECONDS = 30.0  # seldom enough for a log file, often enough that nobody thinks it hangs

_printing = threading.Lock()  # image builds and Go builds report at the same time


class ClusterError(Exception):
    """What went wrong and what to do about it, as sentences for the user; never shown with a traceback."""


def say(text: str) -> None:
    """Print one whole line at once."""
    with _printing:
        print(text, flush=True)


def timed(seconds: float, text: str) -> None:
    """Print one line of a step that ended."""
    say(f"  [{seconds:6.1f} s] {text}")


class Progress:
    """Lets a long step say how far it is, at most once per `PROGRESS_EVERY_SECONDS`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begin = time.monotonic()
        self._next = self._begin + PROGRESS_EVERY_SECONDS

    def tell(self, detail: str) -> None:
        """Print the step's name, its age and `detail`, if it is time to."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_EVERY_SECONDS
            say(f"  [      …  ] {self._text}: {detail}, {now - self._begin:.0f} s so far")


@contextmanager
def step(text: str, *, slow: bool = False) -> Iterator[Progress]:
    """Time a step; a slow one is announced when it begins, each one is printed when it ends well."""
    if slow:
        say(f"  [      …  ] {text}")
    begin = time.monotonic()
    yield Progress(text)
    timed(time.monotonic() - begin, text)
