"""Run the machine's tools, each with a time limit, and turn a failure into a sentence.

Knows: processes that end. Must not know: daemons (`processes.py`), or what the tools are for.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from console import ClusterError

SHOWN_LINES = 15
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL_SECONDS = 0.05


def last_lines(text: str, count: int = SHOWN_LINES) -> str:
    """The last `count` lines, indented for an error message."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-count:])


def attempt(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return whatever came of it.

    Raises ClusterError when the program does not exist or does not end in time.
    """
    command = [str(part) for part in argv]
    try:
        return subprocess.run(
            command,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"The program `{command[0]}` is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{shlex.join(command)}` did not end within {timeout_seconds:.0f} s.") from error


def run(
    argv: Sequence[str | Path],
    *,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command that must succeed and return its standard output.

    Raises ClusterError with the command's last lines when it fails.
    """
    done = attempt(argv, timeout_seconds=timeout_seconds, env=env, stdin=stdin, cwd=cwd)
    if done.returncode != 0:
        shown = last_lines(done.stderr or done.stdout) or "    (it said nothing)"
        command = shlex.join(str(part) for part in argv)
        raise ClusterError(f"`{command}` failed with exit code {done.returncode}:\n{shown}")
    return done.stdout


def found(program: str) -> str | None:
    """The path of a program, looked for in PATH and in the system's own folders (which a user's PATH may lack)."""
    return shutil.which(program) or shutil.which(program, path=SYSTEM_PATH)


def polling(timeout_seconds: float) -> Iterator[None]:
    """Yield until the time is up, with a short pause after each turn."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL_SECONDS)


def wait_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Whether the condition came true in time."""
    return any(condition() for _ in polling(timeout_seconds))
