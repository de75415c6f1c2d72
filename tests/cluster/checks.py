"""What a machine must offer for the bare cluster, checked before anything is changed.

Each failure is one sentence that names what is missing, with the number. Must not know: how things are started.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import binaries
import cgroups
import machine
import network
from console import ClusterError
from layout import INTERFACE, Layout
from mounts import mounts

GIB = 1024**3
# Measured on a start with empty caches: Go's modules and build cache 5, programs 0.5, images in three stores 14.
COLD_DISK_GIB = 22
WARM_DISK_GIB = 3
MEMORY_GIB = 4
LONGEST_SOCKET_PATH = 107  # bytes; a limit of the kernel
DEEPEST_SOCKET = "kubelet/device-plugins/kubelet.sock"


def check(layout: Layout) -> None:
    """Raise ClusterError naming everything that this machine lacks."""
    check_root()
    problems = [*_kernel(), *room(layout), *_network(layout)]
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
    if "\toverlay\n" not in Path("/proc/filesystems").read_text() and not Path("/sys/module/overlay").exists():
        problems.append("The kernel has no overlay file system; `modprobe overlay` may bring it.")
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
