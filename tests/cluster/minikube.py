"""CLUSTER=minikube: Kubernetes in a Docker container, by minikube (https://minikube.sigs.k8s.io).

The commands are pure values, so that they can be checked where no Docker is; `up` and `down` issue them.
"""

from __future__ import annotations

from pathlib import Path

import tools
from console import ClusterError, say, step
from layout import CLUSTER_NAME, Layout
from shell import attempt, found, run

NAME = "minikube"
CREATE_TIMEOUT_SECONDS = 900.0  # the first start pulls the node's image
COMMAND_TIMEOUT_SECONDS = 120.0


def start_command() -> list[str]:
    """Make the cluster, or start the one that there is; the autoscaler looks every 5 s instead of 15 s."""
    return [
        "minikube", "start", "--profile", CLUSTER_NAME, "--driver", "docker", "--container-runtime", "containerd",
        "--addons", "metrics-server",
        "--extra-config", "controller-manager.horizontal-pod-autoscaler-sync-period=5s",
    ]  # fmt: skip


def delete_command() -> list[str]:
    """Remove the cluster; no error when there is none."""
    return ["minikube", "delete", "--profile", CLUSTER_NAME]


def load_commands(images: list[str]) -> list[list[str]]:
    """Bring images from Docker's store to the node."""
    return [["minikube", "image", "load", "--profile", CLUSTER_NAME, image] for image in images]


def _environment(layout: Layout) -> dict[str, str]:
    """minikube writes to the file that KUBECONFIG names; the user's own stays as it is."""
    return {"KUBECONFIG": str(layout.kubeconfig)}


def up(layout: Layout) -> None:
    """Have the cluster run. Raises ClusterError when minikube is missing or fails."""
    _need_minikube()
    tools.ensure(layout)
    layout.state.mkdir(parents=True, exist_ok=True)
    with step("minikube: start the cluster", slow=True):
        run(start_command(), env=_environment(layout), timeout_seconds=CREATE_TIMEOUT_SECONDS)
    say(f"The cluster is up. Kubeconfig: {layout.kubeconfig}")


def down(layout: Layout) -> None:
    """Remove the cluster."""
    _need_minikube()
    with step("minikube: delete the cluster"):
        run(delete_command(), env=_environment(layout), timeout_seconds=COMMAND_TIMEOUT_SECONDS)
        layout.kubeconfig.unlink(missing_ok=True)


def status(layout: Layout) -> tuple[bool, str]:
    """Whether the cluster runs."""
    _need_minikube()
    asked = attempt(
        ["minikube", "status", "--profile", CLUSTER_NAME],
        env=_environment(layout), timeout_seconds=COMMAND_TIMEOUT_SECONDS,
    )  # fmt: skip
    return asked.returncode == 0, (asked.stdout + asked.stderr).strip()


def kubeconfig(layout: Layout) -> Path:
    """The kubeconfig that minikube writes."""
    return layout.kubeconfig


def program_folders(layout: Layout) -> tuple[Path, ...]:
    """The cache's kubectl and helm, if the user has none."""
    return tools.folders(layout)


def _need_minikube() -> None:
    if found("minikube") is None:
        raise ClusterError(
            "CLUSTER=minikube needs the program `minikube`; see https://minikube.sigs.k8s.io for how to install it."
        )
