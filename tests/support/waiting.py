"""Waiting for a condition, with a deadline. Knows nothing of what is waited for."""

import time
from collections.abc import Callable

# Far beyond what anything takes that a test waits for in its own process.
SECONDS = 10.0
PAUSE_SECONDS = 0.005


def until(condition: Callable[[], object], what: str = "what was waited for", *, seconds: float = SECONDS) -> None:
    """Return as soon as `condition` holds; fails with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s"
        time.sleep(PAUSE_SECONDS)
