"""The control group that holds every process of the cluster, so that "ours" is a fact of the kernel, not a guess.

Processes never leave their group unless root moves them, whatever their parent and session, and a group cannot be
mistaken for another by a reused process id. Below `/windlass` come `components/<name>` for what runs on the host, and
`kubepods` for what the kubelet runs. Knows: both versions of control groups. Must not know: what the processes are.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from console import ClusterError
from layout import CGROUP
from mounts import Mount, mounts
from shell import wait_until

NEEDED_V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "pids")
NEEDED_V2 = ("cpu", "cpuset", "memory", "pids")
# Where component processes are put on version 1, where a process has a place in each hierarchy. One is enough to
# know them by, and these need no set-up of a new group as cpuset does.
TRACKED_V1 = ("pids", "freezer", "devices")
COMPONENTS = "components"
KILL_SECONDS = 30.0
REMOVE_SECONDS = 10.0


def is_unified(table: list[Mount]) -> bool:
    """Whether the kubelet will see version 2: the whole of /sys/fs/cgroup is one hierarchy."""
    return any(mount.kind == "cgroup2" and mount.point == Path("/sys/fs/cgroup") for mount in table)


def v1_hierarchies(table: list[Mount]) -> dict[str, Path]:
    """Controller to mount point, for each mounted hierarchy of version 1."""
    return {
        option.removeprefix("name="): mount.point
        for mount in table
        if mount.kind == "cgroup"
        for option in mount.super_options
        if option in {*NEEDED_V1, "freezer", "blkio", "hugetlb", "net_cls", "net_prio", "perf_event", "name=systemd"}
    }


def missing_controllers(table: list[Mount]) -> list[str]:
    """The controllers that the kubelet needs and this machine does not offer."""
    if is_unified(table):
        offered = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
        return [name for name in NEEDED_V2 if name not in offered]
    return [name for name in NEEDED_V1 if name not in v1_hierarchies(table)]


def _roots() -> list[Path]:
    """Our group's folder in each hierarchy, whether it exists or not."""
    points = [mount.point for mount in mounts() if mount.kind in {"cgroup", "cgroup2"}]
    return [point / CGROUP for point in dict.fromkeys(points)]


def _tracked() -> Path:
    table = mounts()
    if is_unified(table):
        return Path("/sys/fs/cgroup") / CGROUP
    hierarchies = v1_hierarchies(table)
    for name in TRACKED_V1:
        if name in hierarchies:
            return hierarchies[name] / CGROUP
    raise ClusterError(f"This machine has no control groups that the cluster can use: none of {', '.join(TRACKED_V1)}.")


def create() -> None:
    """Make our group in every hierarchy, ready to take processes and groups of the kubelet."""
    table = mounts()
    if is_unified(table):
        top = Path("/sys/fs/cgroup")
        group = top / CGROUP
        group.mkdir(exist_ok=True)
        for parent in (top, group):
            _delegate(parent)
        return
    for point in dict.fromkeys(v1_hierarchies(table).values()):
        group = point / CGROUP
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, which then takes no process
            file = group / setting
            if file.exists() and not file.read_text().strip():
                file.write_text((point / setting).read_text())


def _delegate(parent: Path) -> None:
    enabled = (parent / "cgroup.subtree_control").read_text().split()
    for name in (parent / "cgroup.controllers").read_text().split():
        if name not in enabled:
            try:
                (parent / "cgroup.subtree_control").write_text(f"+{name}")
            except OSError as error:
                if name in NEEDED_V2:
                    raise ClusterError(
                        f"The control group {parent} cannot hand the controller `{name}` down: {error.strerror}."
                    ) from error


def component(name: str) -> Path:
    """The group of one component; made if it is not there."""
    group = _tracked() / COMPONENTS / name
    group.mkdir(parents=True, exist_ok=True)
    return group


def component_processes(name: str) -> set[int]:
    """The process ids of one component, and of what it has started outside of pods."""
    return _processes_below(_tracked() / COMPONENTS / name)


def components() -> list[str]:
    """The names of all components that have a group."""
    folder = _tracked() / COMPONENTS
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def processes() -> set[int]:
    """The process ids of everything of ours, pods included."""
    return {pid for root in _roots() for pid in _processes_below(root)}


def pod_processes() -> set[int]:
    """The process ids of everything that the kubelet runs."""
    return {pid for root in _roots() for pid in _processes_below(root / "kubepods")}


def _processes_below(group: Path) -> set[int]:
    found: set[int] = set()
    for folder, _, _ in os.walk(group):
        try:
            found.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
        except OSError as error:  # removed while we look
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise
    found.discard(0)  # a process of another process namespace
    return found


def send(pids: set[int], number: signal.Signals) -> None:
    """Send a signal to each process that still is there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill_pods() -> None:
    """End everything that runs in pods. Raises ClusterError when something stays."""
    _kill_until_empty(pod_processes)


def kill_component(name: str, grace_seconds: float) -> None:
    """Ask one component to end, and make it."""
    send(component_processes(name), signal.SIGTERM)
    if not wait_until(lambda: not component_processes(name), grace_seconds):
        _kill_until_empty(lambda: component_processes(name))


def kill_all() -> None:
    """End every process of ours. Raises ClusterError when something stays."""
    _kill_until_empty(processes)


def _kill_until_empty(listing: Callable[[], set[int]]) -> None:
    def empty() -> bool:
        left = listing()
        send(left, signal.SIGKILL)
        return not left

    if not wait_until(empty, KILL_SECONDS):
        raise ClusterError(
            f"These processes do not end, though killed {KILL_SECONDS:.0f} s ago: {sorted(listing())}. "
            "The kernel holds them, most often for a disk or a mount that does not answer."
        )


def groups() -> list[Path]:
    """Our groups that exist."""
    return [root for root in _roots() if root.is_dir()]


def remove() -> None:
    """Remove our groups, the innermost first. Raises ClusterError when one stays."""

    def gone() -> bool:
        for root in groups():
            for folder in _innermost_first(root):
                try:
                    folder.rmdir()
                except OSError:  # busy for as long as the kernel takes to bury a process; the next turn tries again
                    continue
        return not groups()

    if not wait_until(gone, REMOVE_SECONDS):
        raise ClusterError(f"These control groups cannot be removed: {', '.join(map(str, groups()))}.")


def remove_pods() -> None:
    """Remove the groups that the kubelet made, as far as they are empty; the next kubelet makes its own."""
    for root in _roots():
        for folder in _innermost_first(root / "kubepods"):
            try:
                folder.rmdir()
            except OSError:
                continue


def _innermost_first(root: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(root, topdown=False):
        yield Path(folder)
