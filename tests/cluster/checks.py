"""What a machine must offer for the bare cluster, checked before anything is changed.

Each failure is one sentence that names what is missing, with the number. Must not know: how things are started.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path

import binaries
import cgroups
import machine
import network
from console import ClusterError
from layout import INTERFACE, Layout
from mounts import clear, mounts
from shell import attempt

GIB = 1024**3
# Measured after a start with empty caches, in GiB: Go 5, programs 0.5, the images in three stores 20, the package cache 5.
COLD_DISK_GIB = 30
WARM_DISK_GIB = 3
MEMORY_GIB = 4
MOUNT_TIMEOUT_SECONDS = 20.0
LONGEST_SOCKET_PATH = 107  # bytes; a limit of the kernel
DEEPEST_SOCKET = "kubelet/device-plugins/kubelet.sock"


def check(layout: Layout) -> None:
    """Raise ClusterError naming everything that this machine lacks."""
    check_root()
    problems = [*_kernel(), *room(layout), *_overlay(layout), *_network(layout)]
    if problems:
        raise ClusterError("The bare cluster cannot run here:\n" + "\n".join(f"  - {line}" for line in problems))


def check_root() -> None:
    """Raise ClusterError unless this is root on Linux."""
    if platform.system() != "Linux":
        raise ClusterError(f"The bare cluster needs Linux, and this is {platform.system()}; use CLUSTER=kind.")
    if os.geteuid() != 0:
        raise ClusterError(
            f"The bare cluster needs root, and this is user {os.geteuid()}; use `sudo`, or CLUSTER=kind with Docker."
        )


def _kernel() -> list[str]:
    problems = []
    lacking = cgroups.missing_controllers(mounts())
    if lacking:
        problems.append(f"Control groups lack the controllers {', '.join(lacking)} (see /proc/cgroups).")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    if memory < MEMORY_GIB:
        problems.append(f"{memory:.1f} GiB of memory are there and {MEMORY_GIB} GiB are needed.")
    return problems


def room(layout: Layout) -> list[str]:
    """What is too little of disk, or too long a path."""
    problems = []
    layout.cache.mkdir(parents=True, exist_ok=True)
    cold = not binaries.KUBERNETES.folder(layout).is_dir()
    needed = COLD_DISK_GIB if cold else WARM_DISK_GIB
    free = shutil.disk_usage(layout.cache).free / GIB
    if free < needed:
        why = "for a first start" if cold else "for a start with full caches"
        problems.append(f"{free:.1f} GiB are free where {layout.cache} is, and {needed} GiB are needed {why}.")
    longest = len(os.fsencode(layout.state / DEEPEST_SOCKET))
    if longest > LONGEST_SOCKET_PATH:
        problems.append(
            f"The path of a socket below {layout.state} would have {longest} bytes, and {LONGEST_SOCKET_PATH} are "
            "allowed; set XDG_STATE_HOME to a shorter folder."
        )
    return problems


def _overlay(layout: Layout) -> list[str]:
    """Whether images can be unpacked: tried, because kernel, rights and the folder's file system all have a say."""
    with tempfile.TemporaryDirectory(dir=layout.cache, prefix=".overlay-") as folder:
        parts = {name: Path(folder, name) for name in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        tried = attempt(
            ["mount", "-t", "overlay", "overlay", "-o", options, parts["merged"]], timeout_seconds=MOUNT_TIMEOUT_SECONDS
        )
        clear(Path(folder))
    if tried.returncode == 0:
        return []
    return [
        f"Overlay mounts do not work in {layout.cache} ({tried.stderr.strip()}); the kernel may lack them, or "
        "XDG_CACHE_HOME must name a folder on ext4 or xfs."
    ]


def _network(layout: Layout) -> list[str]:
    owner = network.owner()
    if owner not in {None, "", str(layout.state)}:
        return [f"The interface {INTERFACE} belongs to another cluster, whose state is in {owner}; end that one first."]
    clashes = network.clashing_routes(network.routes(), network.interfaces())
    problems = [f"Addresses of the cluster are in use: route to {route}." for route in clashes]
    if network.foreign_proxy():
        problems.append("Another kube-proxy has its rules in this machine's nftables; two cannot.")
    if machine.kubelet_answers() and not cgroups.component_processes("kubelet"):
        problems.append(f"Another kubelet runs on this machine and holds {machine.KUBELET_SOCKET}; two cannot.")
    return problems
