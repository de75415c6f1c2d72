"""Long commands of image builds: followed line by line, bounded in time, and ended with whoever started them.

Knows: processes and /proc. Must not know: what buildah or mmdebstrap do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from console import ClusterError, Progress
from shell import last_lines, wait_until

LIMIT_SECONDS = 45 * 60.0  # a download of 3 GB over a slow line
KILL_SECONDS = 10.0
BUILDERS = ("buildah", "mmdebstrap")


def bound_to_us(argv: Sequence[str]) -> list[str]:
    """The command, told to end when the thread that starts it does, however that one ends."""
    return ["setpriv", "--pdeathsig", "TERM", *argv]


def follow(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, progress: Progress, where: Callable[[str], str]
) -> None:
    """Run a command to its end; what it says goes to `log`, and where it is, if `where` reads that in a line, to `progress`.

    Raises ClusterError with the last lines when it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as file,
        # A session of its own, because mmdebstrap signals its whole process group.
        subprocess.Popen(
            bound_to_us(argv), env={**os.environ, **environment}, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process,
    ):  # fmt: skip
        limit = threading.Timer(LIMIT_SECONDS, process.terminate)
        limit.start()
        step = "starting"
        try:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                step = where(line) or step
                progress.tell(step)
        except BaseException:
            process.terminate()
            raise
        finally:
            limit.cancel()
    if process.returncode != 0:
        said = last_lines(log.read_text(errors="replace"))
        raise ClusterError(f"`{Path(argv[0]).name}` failed; all it said is in {log}:\n{said}")


def strays(folder: Path) -> list[int]:
    """Processes of builds at work below `folder`: the builders, and steps of builds, which outlive a killed builder."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _works_in(folder, entry)]


def kill(folder: Path) -> None:
    """End every process of a build below `folder`. Raises ClusterError when one stays."""
    for process in strays(folder):
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(process, signal.SIGKILL)
    if not wait_until(lambda: not strays(folder), KILL_SECONDS):
        raise ClusterError(f"These processes of an image build cannot be ended: {strays(folder)}")


def _works_in(folder: Path, process: Path) -> bool:
    below = f"{folder}/"
    try:
        words = (process / "cmdline").read_text(errors="replace").split("\0")
        root = str((process / "root").readlink())
        table = (process / "mountinfo").read_text()
    except OSError:  # it ended while it was looked at
        return False
    if any(Path(word).name in BUILDERS for word in words[:2]) and any(word.startswith(below) for word in words):
        return True
    # The root of a step is a folder of ours, or in a mount namespace of its own an overlay of layers of ours.
    roots = (line for line in table.splitlines() if line.split(" ")[4] == "/")
    return root.startswith(below) or any(f"={below}" in line for line in roots)
