"""A command that is watched while it runs: what it has said so far, and signals to all of it, as a terminal sends them.

Knows: one process group and its output. Must not know: what the command is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from console import Progress
from shell import wait_until

STOP_SECONDS = 30.0
# A make that runs within another one takes these as orders from it.
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")


class Watched:
    """A command in a process group of its own; its standard output and error are kept in order."""

    def __init__(self, argv: Sequence[str], folder: Path, progress: Progress | None = None) -> None:
        self._progress = progress
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            argv, cwd=folder, env={name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line)
                if self._progress is not None:
                    self._progress.tell(line.strip().rpartition("] ")[2])  # without the time that a step of its own took

    def said(self) -> str:
        """All output so far."""
        return "".join(self._lines)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; as Python gives it, so minus the signal's number for one that was killed."""
        return self._process.poll()

    def reaches(self, text: str, timeout_seconds: float) -> bool:
        """Whether it says `text` within the time, and before it ends."""
        wait_until(lambda: text in self.said() or not self._reader.is_alive(), timeout_seconds)
        return text in self.said()

    def ends(self, timeout_seconds: float) -> bool:
        """Whether it ends within the time, with all that it has started and that still writes to its output."""
        return wait_until(lambda: self.exit_code is not None and not self._reader.is_alive(), timeout_seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """End what is left of the group."""
        self.send(signal.SIGKILL)
        self._process.wait()
        self._reader.join(STOP_SECONDS)
