"""What the machine was like before the cluster, and how to leave it so.

Kubernetes and containerd set kernel parameters and use a few folders whose paths are fixed in their code. Knows: those.
Must not know: which component does it when.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from console import ClusterError
from layout import Layout

# What the CNI plug-ins and the kubelet set.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)

KUBELET_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
FIXED_FILES = (KUBELET_SOCKET, KUBELET_SOCKET.with_name("kubelet_internal_checkpoint"))
# The inner before the outer.
FIXED_FOLDERS = (
    "/var/lib/kubelet/device-plugins", "/var/lib/kubelet", "/var/lib/cni/results", "/var/lib/cni",
    "/var/log/containers", "/run/containerd/s", "/run/containerd/fifo", "/run/containerd",
)  # fmt: skip


def _memory(layout: Layout) -> Path:
    return layout.state / "machine-before.json"


def remember(layout: Layout) -> None:
    """Note the parameters and which of the fixed folders are not there. What is noted already stays: a start that was
    cut short has noted it before it changed anything."""
    if _memory(layout).exists():
        return
    sysctls = {name: _sysctl(name).read_text().strip() for name in SYSCTLS if _sysctl(name).exists()}
    absent = [folder for folder in FIXED_FOLDERS if not Path(folder).exists()]
    partial = layout.state / ".machine-before.partial"
    partial.write_text(json.dumps({"sysctls": sysctls, "absent": absent}, indent=2))
    partial.replace(_memory(layout))


def restore(layout: Layout) -> None:
    """Put the parameters back and remove the fixed folders that were not there, as far as nobody else uses them.

    Raises ClusterError when a parameter cannot be put back.
    """
    if not _memory(layout).exists():
        return
    before = json.loads(_memory(layout).read_text())
    for name, value in before["sysctls"].items():
        try:
            _sysctl(name).write_text(value)
        except OSError as error:
            raise ClusterError(f"The kernel parameter {name} cannot be put back to {value}: {error.strerror}.") from error
    if str(KUBELET_SOCKET.parent) in before["absent"]:
        for file in FIXED_FILES:
            file.unlink(missing_ok=True)
    for folder in before["absent"]:
        try:
            Path(folder).rmdir()
        except OSError:  # gone already, or somebody else has put something into it
            continue
    _memory(layout).unlink()


def kubelet_answers() -> bool:
    """Whether some kubelet listens on the one socket that all kubelets of a machine would share."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(KUBELET_SOCKET))
        except OSError:
            return False
        return True


def _sysctl(name: str) -> Path:
    return Path("/proc/sys", name)
