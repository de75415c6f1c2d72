"""metrics-server for kind, which has none: upstream's own manifest, with the one change that kind needs.

Must not know: how the cluster was made.
"""

from __future__ import annotations

import json
from pathlib import Path

from shell import attempt, run

VERSION = "v0.8.0"
URL = f"https://github.com/kubernetes-sigs/metrics-server/releases/download/{VERSION}/components.yaml"
TIMEOUT_SECONDS = 120.0

# kind's kubelets serve certificates that no authority of the cluster has signed.
FLAG = "--kubelet-insecure-tls"
PATCH = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": FLAG}]


def _base(kubectl: Path, kubeconfig: Path) -> list[str]:
    return [str(kubectl), "--kubeconfig", str(kubeconfig), "--namespace", "kube-system"]


def arguments_command(kubectl: Path, kubeconfig: Path) -> list[str]:
    """Print the arguments that metrics-server runs with; fails where there is none."""
    path = "jsonpath={.spec.template.spec.containers[0].args}"
    return [*_base(kubectl, kubeconfig), "get", "deployment/metrics-server", "--output", path]


def install_commands(kubectl: Path, kubeconfig: Path) -> list[list[str]]:
    """Apply the manifest, then patch its Deployment."""
    patch = ["patch", "deployment/metrics-server", "--type", "json", "--patch", json.dumps(PATCH)]
    return [[*_base(kubectl, kubeconfig), "apply", "-f", URL], [*_base(kubectl, kubeconfig), *patch]]


def install(kubectl: Path, kubeconfig: Path) -> None:
    """Have metrics-server run; one that has been patched is left alone, since a second patch would restart it."""
    if FLAG in attempt(arguments_command(kubectl, kubeconfig), timeout_seconds=TIMEOUT_SECONDS).stdout:
        return
    for command in install_commands(kubectl, kubeconfig):
        run(command, timeout_seconds=TIMEOUT_SECONDS)
