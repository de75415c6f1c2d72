"""containerd of the cluster's own: its configuration, and its store of images in the cache.

The store outlives the cluster, so that a second start pulls nothing; what pods left in it does not.
Must not know: the kubelet.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pause_image
from layout import REGISTRY, Layout
from packages import CNI_FOLDER
from processes import Daemon
from shell import attempt, found, run

NAME = "containerd"
NAMESPACE = "k8s.io"  # the one that the kubelet's interface uses
COMMAND_TIMEOUT_SECONDS = 60.0
SHIM_SOCKETS = Path("/run/containerd/s")  # fixed in containerd, shared by all that run on the machine


def socket(layout: Layout) -> Path:
    """Where this containerd listens."""
    return layout.state / "containerd.sock"


def runtime_state(layout: Layout) -> Path:
    """Mounts, bundles and sockets of what runs; worthless once nothing does."""
    return layout.state / "containerd"


def configuration(layout: Layout) -> str:
    """The configuration file; TOML takes strings and lists as JSON writes them."""
    value = json.dumps
    state = runtime_state(layout)
    return f"""\
version = 2
root = {value(str(layout.cache / "containerd"))}
state = {value(str(state))}
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = {value(str(socket(layout)))}

[plugins."io.containerd.internal.v1.opt"]
  path = {value(str(state / "opt"))}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {value(pause_image.NAME)}
  # Without CAP_SYS_RESOURCE nobody may lower a score; the refusal would fail each sandbox.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {value(str(CNI_FOLDER))}
    conf_dir = {value(str(layout.configuration("cni")))}

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = {value(str(state / "runc"))}

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {value(str(layout.configuration("registries")))}
"""


def registry_configuration() -> str:
    """How to reach the registry on the loopback: without TLS."""
    return f"""\
server = "http://{REGISTRY}"

[host."http://{REGISTRY}"]
  capabilities = ["pull", "resolve"]
"""


def daemon(layout: Layout) -> Daemon:
    """The program and how to know that it serves."""
    return Daemon(
        NAME,
        (found("containerd") or "containerd", "--config", str(layout.configuration("containerd.toml"))),
        ready=lambda: socket(layout).exists() and _ctr(layout, "version").returncode == 0,
        # Shims are programs of containerd's own package, looked for in PATH.
        environment={"TMPDIR": str(runtime_state(layout) / "tmp")},
    )


def write_configuration(layout: Layout) -> None:
    """Write all that containerd reads."""
    (runtime_state(layout) / "tmp").mkdir(parents=True, exist_ok=True)
    hosts = layout.configuration("registries") / REGISTRY / "hosts.toml"
    hosts.parent.mkdir(parents=True, exist_ok=True)
    hosts.write_text(registry_configuration())
    layout.configuration("containerd.toml").write_text(configuration(layout))


def import_pause_image(layout: Layout) -> None:
    """Have the sandbox image in the store."""
    if pause_image.NAME in _checked(layout, "images", "ls", "-q").split():
        return
    program = found("catatonit")
    assert program is not None, "packages.install() has run"
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(pause_image.archive(Path(program)))
        file.flush()
        _checked(layout, "images", "import", file.name)


def leftovers(layout: Layout) -> list[str]:
    """Containers that an earlier cluster left in the store."""
    return _checked(layout, "containers", "ls", "-q").split()


def remove_containers(layout: Layout, names: list[str]) -> None:
    """Remove containers with their tasks and writable layers; their images stay."""
    if names:
        _ctr(layout, "tasks", "rm", "--force", *names)  # fails for those without a task
        _checked(layout, "containers", "rm", *names)


def remove_shim_sockets(layout: Layout) -> None:
    """Remove the sockets of shims that were killed; each bundle names its own."""
    for socket_path in shim_sockets(layout):
        socket_path.unlink(missing_ok=True)


def shim_sockets(layout: Layout) -> list[Path]:
    """The sockets in the shared folder that belong to this containerd's shims."""
    addresses = runtime_state(layout).glob("io.containerd.runtime.v2.task/*/*/address")
    paths = [Path(file.read_text().strip().removeprefix("unix://")) for file in addresses]
    return [path for path in paths if path.parent == SHIM_SOCKETS and path.exists()]


def _ctr(layout: Layout, *arguments: str) -> subprocess.CompletedProcess[str]:
    return attempt(_command(layout, *arguments), timeout_seconds=COMMAND_TIMEOUT_SECONDS)


def _checked(layout: Layout, *arguments: str) -> str:
    return run(_command(layout, *arguments), timeout_seconds=COMMAND_TIMEOUT_SECONDS)


def _command(layout: Layout, *arguments: str) -> list[str]:
    return [found("ctr") or "ctr", "--address", str(socket(layout)), "--namespace", NAMESPACE, *arguments]
