"""What a worker process and the agent of its pod tell one another, as files in a folder of theirs.

The worker tells its progress and its outcome, the agent asks it to stop. Files and not a pipe: a worker that is killed halfway
leaves the last whole file, and an agent that is busy blocks nobody. No signal either: Python hears none while it waits in C++
for another worker, and torch elastic uses SIGTERM for workers that must go at once.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from windlass_core.contracts import Progress, RunResult

_PROGRESS = "progress.json"
_STOP = "stop"


class Outcome(BaseModel):
    """How a worker process ended.

    Attributes:
        exit_code: see the table in windlass_core.errors; 1 for what may be different the next time.
        result: what the pod would report, were this its end.
    """

    model_config = ConfigDict(frozen=True)

    exit_code: int
    result: RunResult


class Reports:
    """The files of one pod."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write_progress(self, progress: Progress) -> None:
        """Replace the progress; called by one worker of the pod."""
        self._replace(_PROGRESS, progress.to_json_text())

    def progress(self) -> Progress | None:
        """The newest progress, or None before the first."""
        try:
            return Progress.model_validate_json((self._folder / _PROGRESS).read_bytes())
        except FileNotFoundError:
            return None

    def request_stop(self) -> None:
        """Ask the workers to save and end."""
        (self._folder / _STOP).touch()

    def stop_requested(self) -> bool:
        """Whether the agent has asked; costs microseconds."""
        return (self._folder / _STOP).exists()

    def write_outcome(self, local_rank: int, outcome: Outcome) -> None:
        """Say how a worker ended."""
        self._replace(f"outcome-{local_rank}.json", outcome.model_dump_json())

    def outcomes(self) -> list[Outcome]:
        """The outcomes of the workers that left one, the first to end first."""
        files = sorted(self._folder.glob("outcome-*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [Outcome.model_validate_json(path.read_bytes()) for path in files]

    def forget_outcomes(self) -> None:
        """Remove the outcomes of workers that ended, before new ones start."""
        for path in self._folder.glob("outcome-*.json"):
            path.unlink()

    def _replace(self, name: str, text: str) -> None:
        partial = self._folder / f".{name}.{os.getpid()}"
        partial.write_text(text)
        partial.replace(self._folder / name)
