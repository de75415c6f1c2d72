"""Waiting for a condition, with a deadline. Knows nothing of what is waited for."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

# Far beyond what anything takes that a test waits for in its own process.
SECONDS = 10.0
PAUSE_SECONDS = 0.01
# On an event loop, where looking costs little.
LOOP_PAUSE_SECONDS = 0.001


def until(
    condition: Callable[[], Any],
    what: str = "what was waited for",
    shown: Callable[[], Any] = lambda: "",
    *,
    seconds: float = SECONDS,
    pause: float = PAUSE_SECONDS,
) -> None:
    """Return as soon as `condition` holds; fails with `what`, and with what is `shown` then, after so many seconds.

    Args:
        pause: between two looks, in seconds; a look that is a program of its own must not keep a core busy.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s {shown()}"
        time.sleep(pause)


async def until_on_loop(condition: Callable[[], Any], *, seconds: float = SECONDS) -> None:
    """The same on an event loop, for what happens on other threads or in other processes, which set no event here."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(LOOP_PAUSE_SECONDS)
