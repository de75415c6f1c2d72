"""The processes of image builds: which there are, and how they are ended.

Knows: processes and /proc. Must not know: what buildah or mmdebstrap do.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from console import ClusterError
from shell import wait_until

KILL_SECONDS = 10.0
BUILDERS = ("buildah", "mmdebstrap")


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
