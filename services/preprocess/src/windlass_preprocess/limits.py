"""What this container may use: the memory and the cores of its cgroup, else those of the machine.

Read from the files of the kernel, because a container sees the whole machine by every other way.
"""

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
# Python with DuckDB, pyarrow and obstore loaded, and the batches in flight; measured at about 210 MiB.
RESERVED_BYTES = 256 * MIB
# DuckDB counts its buffers, not every allocation; the rest is for what it does not count.
DATABASE_SHARE = 0.75
# Below this DuckDB cannot sort or read CSV at all.
LEAST_DATABASE_BYTES = 96 * MIB
# Each of DuckDB's threads holds buffers of about this size while it reads CSV.
BYTES_PER_THREAD = 64 * MIB

_CGROUP = Path("/sys/fs/cgroup")
# Of version 2 and of version 1 of the kernel's interface.
_MEMORY_FILES = ("memory.max", "memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Limits:
    """How much the database may use."""

    memory_bytes: int
    threads: int

    @classmethod
    def of_this_container(cls, cgroup: Path = _CGROUP) -> "Limits":
        """Limits that leave room for the rest of this process."""
        return cls.within(_memory_limit(cgroup), _cores(cgroup))

    @classmethod
    def within(cls, memory_bytes: int, cores: int) -> "Limits":
        """Limits of a container with so much memory, in bytes, and so many cores."""
        database = max(LEAST_DATABASE_BYTES, int((memory_bytes - RESERVED_BYTES) * DATABASE_SHARE))
        return cls(memory_bytes=database, threads=max(1, min(cores, database // BYTES_PER_THREAD)))


def _memory_limit(cgroup: Path) -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _MEMORY_FILES:
        text = _read(cgroup / name)
        if text.isdigit():
            return min(int(text), machine)  # version 1 writes a huge number for no limit, version 2 "max"
    return machine


def _cores(cgroup: Path) -> int:
    available = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if not quota.isdigit():
        quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit()):
        return available
    return max(1, min(available, -(-int(quota) // int(period))))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
