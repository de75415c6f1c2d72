"""Long commands: followed line by line, bounded in time, and ended with whoever started them.

Knows: processes. Must not know: what the commands do.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from console import ClusterError, Progress
from shell import found, last_lines

LIMIT_SECONDS = 45 * 60.0  # a download of 3 GB over a slow line, or Kubernetes built on one slow core


def bound_to_us(argv: Sequence[str]) -> list[str]:
    """The command, told to end when the thread that starts it does, however that one ends; Linux alone can do that."""
    setpriv = found("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *argv] if setpriv else list(argv)


def follow(
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    progress: Progress,
    where: Callable[[str], str],
    *,
    folder: Path | None = None,
) -> None:
    """Run a command to its end in `folder`; all it says goes to `log`, and where it is to `progress`.

    `where` reads from a line how far the command is; it gives an empty string for a line that says anything else.
    Raises ClusterError with the last of those other lines when the command fails or takes too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    late = threading.Event()
    with (
        log.open("w") as file,
        # A session of its own, because mmdebstrap signals its whole process group.
        subprocess.Popen(
            bound_to_us(argv), env={**os.environ, **environment}, cwd=folder, text=True, errors="replace",
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process,
    ):  # fmt: skip

        def stop() -> None:
            late.set()
            process.terminate()

        limit = threading.Timer(LIMIT_SECONDS, stop)
        limit.start()
        try:
            assert process.stdout is not None
            for detail in _places(process.stdout, file, where):
                progress.tell(detail)
        except BaseException:
            process.terminate()
            raise
        finally:
            limit.cancel()
    if process.returncode != 0:
        what = f"did not end within {LIMIT_SECONDS:.0f} s" if late.is_set() else "failed"
        raise ClusterError(f"`{Path(argv[0]).name}` {what}; all it said is in {log}:\n{_complaint(log, where)}")


def _places(lines: IO[str], file: IO[str], where: Callable[[str], str]) -> Iterator[str]:
    for line in lines:
        file.write(line)
        if place := where(line):
            yield place


def _complaint(log: Path, where: Callable[[str], str]) -> str:
    text = log.read_text(errors="replace")
    other = [line for line in text.splitlines(keepends=True) if not where(line)]
    return last_lines("".join(other) or text)
