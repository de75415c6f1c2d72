"""Where everything of the local cluster lives: folders, names, addresses and ports.

Knows: constants and paths. Must not know: how anything is started, or whether it runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

CLUSTER_NAME = "windlass"
NODE_NAME = "windlass"

# Ranges and ports that installers do not use by default, so that other clusters of this machine keep theirs.
NODE_IP = "10.213.0.1"
POD_RANGE = "10.213.0.0/21"
POD_RANGE_FIRST, POD_RANGE_LAST = "10.213.0.10", "10.213.7.250"
SERVICE_RANGE = "10.214.0.0/20"
KUBERNETES_SERVICE_IP = "10.214.0.1"
DNS_SERVICE_IP = "10.214.0.10"
CLUSTER_DOMAIN = "cluster.local"

INTERFACE = "windlass0"
NFT_TABLE = "windlass"
CNI_NETWORK = "windlass"
CGROUP = "windlass"


@dataclass(frozen=True)
class Ports:
    """TCP ports of the components; all on the loopback or on the node's own address."""

    registry: int = 5001
    etcd_client: int = 23790
    etcd_peer: int = 23800
    etcd_health: int = 23810
    api_server: int = 16443
    metrics_server: int = 16444
    kubelet: int = 16250
    kubelet_health: int = 16248
    controller_manager: int = 16257
    scheduler: int = 16259
    proxy_health: int = 16256
    proxy_metrics: int = 16249
    dns: int = 16053
    dns_health: int = 16181


PORTS = Ports()
REGISTRY = f"127.0.0.1:{PORTS.registry}"


@dataclass(frozen=True)
class Layout:
    """The two folders of one user: what may be thrown away but is slow to make, and what a running cluster holds."""

    cache: Path
    state: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; exists while a cluster is up."""
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Certificates and keys, made anew at each start."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One log file per component; kept by `down` for whoever wants to know what happened."""
        return self.state / "logs"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the cluster; lives outside the state, which `down` removes."""
        return self.state.with_name("cluster.lock")

    def log(self, component: str) -> Path:
        """The log file of one component."""
        return self.logs / f"{component}.log"

    def configuration(self, name: str) -> Path:
        """The path of one generated configuration file."""
        return self.state / "configuration" / name


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The base-directory specification says that relative values are to be ignored.
    return Path(value) if value.startswith("/") else Path.home() / default


def layout() -> Layout:
    """The layout for the current user, by the XDG base-directory specification."""
    return Layout(
        cache=_base("XDG_CACHE_HOME", ".cache") / "windlass",
        state=_base("XDG_STATE_HOME", ".local/state") / "windlass" / "cluster",
    )
