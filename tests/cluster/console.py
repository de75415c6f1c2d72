"""What the user sees: one line per step, with the time it took, and a sign of life from those that take long.

Knows: printing. Must not know: what the steps do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SILENT_SECONDS = 2.0  # a step that takes longer is announced: nobody should have to guess what is going on
PROGRESS_EVERY_SECONDS = 30.0  # seldom enough for a log file, often enough that nobody thinks it hangs

_printing = threading.Lock()  # image builds and Go builds report at the same time


class ClusterError(Exception):
    """What went wrong and what to do about it, as sentences for the user; never shown with a traceback."""


def say(text: str) -> None:
    """Print one whole line at once."""
    with _printing:
        print(text, flush=True)


class Progress:
    """How far a step is: whoever does it tells, and whoever prints it asks now and then."""

    def __init__(self) -> None:
        self.detail = ""

    def tell(self, detail: str) -> None:
        """Note how far the step is."""
        self.detail = detail


@contextmanager
def step(text: str, *, slow: bool = False) -> Iterator[Progress]:
    """Time a step; each one is printed when it ends well.

    A slow one is announced when it begins, any other once it has taken `SILENT_SECONDS`; from then on its age and how
    far it is are printed every `PROGRESS_EVERY_SECONDS`.
    """
    if slow:
        _going_on(text)
    begin = time.monotonic()
    progress, ended = Progress(), threading.Event()
    reporter = threading.Thread(target=_report, args=(text, progress, ended, slow), daemon=True)
    reporter.start()
    try:
        yield progress
    finally:
        ended.set()
        reporter.join()
    say(f"  [{time.monotonic() - begin:6.1f} s] {text}")


def _report(text: str, progress: Progress, ended: threading.Event, announced: bool) -> None:
    begin = time.monotonic()
    if not announced:
        if ended.wait(SILENT_SECONDS):
            return
        _going_on(text)
    while not ended.wait(PROGRESS_EVERY_SECONDS):
        detail = f"{progress.detail}, " if progress.detail else ""
        _going_on(f"{text}: {detail}{time.monotonic() - begin:.0f} s so far")


def _going_on(text: str) -> None:
    say(f"  [      …  ] {text}")
