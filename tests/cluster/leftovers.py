"""What of the bare cluster is on this machine, and how it is all removed.

The same lists tell `down` what to remove and `leaks` what is left, so that neither can forget what the other knows.
Everything is identified by something of ours: the control group, folders of the state, the interface, table names.
Must not know: how the cluster is started.
"""

from __future__ import annotations

import contextlib
import shutil
import textwrap
from pathlib import Path

import cgroups
import containerd
import machine
import mounts
import network
import processes
import registry
from console import ClusterError
from layout import Layout

STOP_GRACE_SECONDS = 5.0
POD_LOG_LINKS = Path("/var/log/containers")  # fixed in the kubelet; links into our folder of pod logs

SHOWN_COMMAND = 100  # characters of a command line; the API server's has three thousand

# What a cluster leaves in its state folder besides logs, which are kept for whoever wants to know what happened.
KEPT_STATE = {"logs"}
REGISTRY_STATE = {"configuration"}


def stop(layout: Layout, *, keep_registry: bool) -> None:
    """End the cluster, whatever state it is in, and remove all of it; the caches stay.

    Raises ClusterError naming what cannot be removed.
    """
    kept = {registry.NAME} if keep_registry else set()
    for name in cgroups.components():
        # Without grace: all that these would save is thrown away below.
        if name not in {containerd.NAME, *kept}:
            cgroups.kill_component(name, grace_seconds=0.0)
    _empty_containerd(layout)
    cgroups.kill_pods()
    cgroups.kill_component(containerd.NAME, STOP_GRACE_SECONDS)
    _remove_traces(layout)
    if not keep_registry:
        cgroups.kill_all()
        cgroups.remove()
    else:
        cgroups.remove_pods()
    _remove_state(layout, KEPT_STATE | (REGISTRY_STATE if keep_registry else set()))


def _empty_containerd(layout: Layout) -> None:
    """Take pods out of the store while containerd answers; what it does not do now the next start does."""
    with contextlib.suppress(ClusterError):
        if processes.alive(containerd.NAME) and containerd.daemon(layout).ready():
            containerd.remove_containers(layout, containerd.leftovers(layout))


def _remove_traces(layout: Layout) -> None:
    containerd.remove_shim_sockets(layout)
    mounts.clear(layout.state)
    network.destroy(layout)
    for link in pod_log_links(layout):
        link.unlink(missing_ok=True)
    machine.restore(layout)


def _remove_state(layout: Layout, kept: set[str]) -> None:
    if not layout.state.is_dir():
        return
    for entry in layout.state.iterdir():
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def pod_log_links(layout: Layout) -> list[Path]:
    """The kubelet's links in the shared folder that lead to logs of our pods."""
    if not POD_LOG_LINKS.is_dir():
        return []
    logs = layout.state / "pod-logs"
    return [link for link in POD_LOG_LINKS.iterdir() if link.is_symlink() and logs in link.readlink().parents]


def running(layout: Layout) -> bool:
    """Whether anything of an earlier cluster is there besides the registry and what it needs."""
    if any(name != registry.NAME for name in cgroups.components()) or cgroups.pod_processes():
        return True
    if network.interfaces() or mounts.below(layout.state):
        return True
    return layout.state.is_dir() and any(entry.name not in KEPT_STATE | REGISTRY_STATE for entry in layout.state.iterdir())


def leaks(layout: Layout) -> list[str]:
    """A line for each thing of ours that is on the machine; empty after `down`."""
    shown = [f"process {pid}: {_command_line(pid)}" for pid in sorted(cgroups.processes())]
    shown += [f"control group {group}" for group in cgroups.groups()]
    shown += [f"mount {point}" for point in mounts.below(layout.state)]
    shown += [f"network interface {name}" for name in network.interfaces()]
    shown += [f"nftables table {family} {name}" for family, name in network.tables()]
    shown += [f"iptables rule {' '.join(rule)}" for rule in network.forward_rules()]
    shown += [f"CNI result {path}" for path in network.cni_results(layout)]
    shown += [f"socket {path}" for path in containerd.shim_sockets(layout)]
    shown += [f"link {link}" for link in pod_log_links(layout)]
    if layout.state.is_dir():
        shown += [f"state {entry}" for entry in sorted(layout.state.iterdir()) if entry.name not in KEPT_STATE]
    return shown


def _command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(ended)"
    return textwrap.shorten(words, SHOWN_COMMAND, placeholder=" ...")
