"""One change of the cluster at a time.

Knows: an advisory file lock, which the kernel releases when its holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console import ClusterError, step
from shell import wait_until

WAIT_SECONDS = 20 * 60.0  # longer than a cold start, which is what another `up` may be doing


@contextmanager
def exclusive(path: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock; a second caller waits for the first and says so. Raises ClusterError when it waits too long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:

        def taken() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not taken():
            with step("Wait for another `tests/cluster` command, which is at work on this cluster", slow=True):
                in_time = wait_until(taken, wait_seconds)
            if not in_time:
                raise ClusterError(f"Another `tests/cluster` command has held {path} for {wait_seconds:.0f} s.")
        yield
