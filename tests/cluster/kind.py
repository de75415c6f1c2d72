"""CLUSTER=kind: Kubernetes in a Docker container, by kind (https://kind.sigs.k8s.io).

The commands are pure values, so that they can be checked where no Docker is; `up` and `down` issue them.
"""

from __future__ import annotations

import json
from pathlib import Path

import metrics_manifest
import tools
from console import ClusterError, say, step
from layout import CLUSTER_NAME, Layout
from shell import attempt, found, run

NAME = "kind"
CREATE_TIMEOUT_SECONDS = 600.0  # the first start pulls the node's image
COMMAND_TIMEOUT_SECONDS = 120.0


def configuration() -> str:
    """The cluster's definition: one node, and an autoscaler that looks every 5 s instead of 15 s."""
    patch = {
        "kind": "ClusterConfiguration",
        "controllerManager": {"extraArgs": {"horizontal-pod-autoscaler-sync-period": "5s"}},
    }
    return json.dumps(
        {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "nodes": [{"role": "control-plane"}],
            "kubeadmConfigPatches": [json.dumps(patch)],
        }
    )


def create_command(kubeconfig: Path) -> list[str]:
    """Make the cluster from the configuration on standard input, and wait for its node."""
    return [
        "kind", "create", "cluster", "--name", CLUSTER_NAME, "--config", "-", "--kubeconfig", str(kubeconfig),
        "--wait", "180s",
    ]  # fmt: skip


def delete_command(kubeconfig: Path) -> list[str]:
    """Remove the cluster; no error when there is none."""
    return ["kind", "delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", str(kubeconfig)]


def load_commands(images: list[str]) -> list[list[str]]:
    """Bring images from Docker's store to the node."""
    return [["kind", "load", "docker-image", "--name", CLUSTER_NAME, *images]]


def up(layout: Layout) -> None:
    """Have the cluster run. Raises ClusterError when kind is missing or fails."""
    _need_kind()
    tools.ensure(layout)
    layout.state.mkdir(parents=True, exist_ok=True)
    if not _exists():
        with step("kind: create the cluster", slow=True):
            run(create_command(layout.kubeconfig), stdin=configuration(), timeout_seconds=CREATE_TIMEOUT_SECONDS)
    else:
        run(["kind", "export", "kubeconfig", "--name", CLUSTER_NAME, "--kubeconfig", layout.kubeconfig],
            timeout_seconds=COMMAND_TIMEOUT_SECONDS)  # fmt: skip
    with step("metrics-server"):
        metrics_manifest.install(tools.kubectl(layout), layout.kubeconfig)
    say(f"The cluster is up. Kubeconfig: {layout.kubeconfig}")


def down(layout: Layout) -> None:
    """Remove the cluster."""
    _need_kind()
    with step("kind: delete the cluster"):
        run(delete_command(layout.kubeconfig), timeout_seconds=COMMAND_TIMEOUT_SECONDS)
        layout.kubeconfig.unlink(missing_ok=True)


def status(_: Layout) -> tuple[bool, str]:
    """Whether the cluster exists."""
    _need_kind()
    running = _exists()
    return running, f"kind has {'the' if running else 'no'} cluster `{CLUSTER_NAME}`."


def kubeconfig(layout: Layout) -> Path:
    """The kubeconfig that kind writes."""
    return layout.kubeconfig


def program_folders(layout: Layout) -> tuple[Path, ...]:
    """The cache's kubectl and helm, if the user has none."""
    return tools.folders(layout)


def _need_kind() -> None:
    if found("kind") is None:
        raise ClusterError("CLUSTER=kind needs the program `kind`; see https://kind.sigs.k8s.io for how to install it.")


def _exists() -> bool:
    listed = attempt(["kind", "get", "clusters"], timeout_seconds=COMMAND_TIMEOUT_SECONDS)
    return CLUSTER_NAME in listed.stdout.split()
