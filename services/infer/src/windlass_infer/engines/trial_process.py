"""The other end of `trial.py`: a process that tries the candidates of one library, one after the other.

One, because importing a library can take longer than all that is measured with it. A candidate that crashes or hangs ends the
process; the next one gets a new process.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from windlass_infer.engines.trial import Request, Result

# Characters of what a process said before it ended badly, for the log.
SAID_LENGTH = 2000

log = logging.getLogger(__name__)


class TrialProcess:
    """Tries requests of one library while it is open; the process begins with the first of them."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """
        Args:
            folder: for files that pass between processes.
            seconds: after which a candidate is given up.
        """
        self._folder = folder
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process is not None:
            self._kill(self._process)

    def attempt(self, request: Request) -> Result:
        """What came of it, or why nothing did."""
        path = self._folder / f"{request.variant}.request.json"
        request.write(path)
        started = time.perf_counter()
        process = self._process = self._process or self._begin()
        assert process.stdin is not None  # noqa: S101  # they are pipes
        assert process.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it ended before: reading tells so
            process.stdin.write(f"{path}\n".encode())
        ready, _, _ = select.select([process.stdout], [], [], self._seconds)
        if ready and process.stdout.readline():
            return Result.read(Path(request.result))
        if ready:
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it goes on without its end of the pipe
                process.wait(self._seconds)
        code = process.poll()
        self._kill(process)
        seconds = time.perf_counter() - started
        if code is None:
            return Result({}, seconds, f"it was not done after {self._seconds:.0f} s", late=True)
        said = self._said.read_bytes().decode(errors="replace")[-SAID_LENGTH:]
        log.warning("the trial of %s ended badly", request.variant, extra={"said": said})
        return Result({}, seconds, failure=_ended(code))

    @property
    def _said(self) -> Path:
        return self._folder / "stderr"

    def _begin(self) -> subprocess.Popen[bytes]:
        with self._said.open("wb") as said:
            # The module is ours, and nobody else has a say in the arguments.
            return subprocess.Popen(
                [sys.executable, "-m", "windlass_infer.engines.trial"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
            )

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        with process:  # closes the pipes and waits
            self._process = None


def _ended(code: int) -> str:
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"
