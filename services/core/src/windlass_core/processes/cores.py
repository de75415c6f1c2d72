"""How many cores this container may use: the quota of its control groups, not the cores of the node.

Reads both versions of control groups, from the group of this process up to the root: the smallest quota on the way holds. Knows
nothing of what is done with it.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Version 1 mounts the controller under one of these, depending on the distribution.
_V1_CONTROLLERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def cpu_limit(root: Path = _CGROUP_ROOT, own_groups: Path = _OWN_GROUPS) -> float | None:
    """Cores that this process may use, for example 1.5; None when no control group limits them."""
    quotas: list[float] = []
    with suppress(OSError):
        for line in own_groups.read_text().splitlines():
            _number, controllers, path = line.split(":", 2)
            mounts = [root] if not controllers else [root / name for name in _V1_CONTROLLERS if "cpu" in controllers.split(",")]
            for mount in mounts:
                quotas += [quota for folder in _upwards(mount, path) if (quota := _quota(folder))]
    return min(quotas, default=None)


def process_count(limit: float | None) -> int:
    """Serving processes for a limit: one for each whole core, and one without a limit, where no core is surely ours.

    Never more than the cores that this process may be scheduled on.
    """
    return max(1, min(math.floor(limit or 1), len(os.sched_getaffinity(0))))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The folder of a group and those of its parents. A container sees its own group as the root, whatever its path says."""
    folder = mount / path.lstrip("/")
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _quota(folder: Path) -> float | None:
    """Cores that one group allows; None when it sets no limit or is not there."""
    with suppress(OSError, ValueError):
        return _share(*(folder / "cpu.max").read_text().split())
    with suppress(OSError, ValueError):
        return _share((folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text())
    return None


def _share(quota: str, period: str) -> float | None:
    """Microseconds of CPU time in a period, over the period; both versions have a word for no limit, `max` and -1."""
    if quota == "max" or int(quota) <= 0:
        return None
    return int(quota) / int(period)
