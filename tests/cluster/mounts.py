"""The kernel's table of mounts, and how to clear what is mounted below a folder.

Knows: /proc/self/mountinfo. Must not know: who mounted what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from console import ClusterError
from shell import attempt

UNMOUNT_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Mount:
    """One line of the table."""

    point: Path
    kind: str
    super_options: tuple[str, ...]


def parse(table: str) -> list[Mount]:
    """Read the text of /proc/self/mountinfo, in the order in which things were mounted."""
    found = []
    for line in table.splitlines():
        place, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        found.append(Mount(Path(_unescape(place.split(" ")[4])), kind, tuple(options.split(","))))
    return found


def _unescape(text: str) -> str:
    """Blanks, tabs, newlines and backslashes stand in the table as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mounts() -> list[Mount]:
    """All mounts that this process sees."""
    return parse(Path("/proc/self/mountinfo").read_text())


def below(folder: Path) -> list[Path]:
    """The mount points at or below a folder, the last mounted first, one entry for each layer."""
    real = folder.resolve()
    return [mount.point for mount in reversed(mounts()) if mount.point == real or real in mount.point.parents]


def clear(folder: Path) -> None:
    """Unmount everything below a folder. Raises ClusterError when something stays."""
    for point in below(folder):
        attempt(["umount", "--lazy", point], timeout_seconds=UNMOUNT_TIMEOUT_SECONDS)
    left = below(folder)
    if left:
        raise ClusterError(f"These mounts cannot be removed: {', '.join(map(str, left))}.")
