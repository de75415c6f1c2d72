"""metrics-server for kind, which has none: upstream's own manifest, with the one change that kind needs.

Must not know: how the cluster was made.
"""

from __future__ import annotations

import json
from pathlib import Path

from shell import run

VERSION = "v0.8.0"
URL = f"https://github.com/kubernetes-sigs/metrics-server/releases/download/{VERSION}/components.yaml"
TIMEOUT_SECONDS = 120.0

# kind's kubelets serve certificates that no authority of the cluster has signed.
PATCH = [
    {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"},
]


def commands(kubectl: Path, kubeconfig: Path) -> list[list[str]]:
    """Apply the manifest, then patch its Deployment; the manifest is applied again by each `up`, so the patch is too."""
    base = [str(kubectl), "--kubeconfig", str(kubeconfig)]
    return [
        [*base, "apply", "-f", URL],
        [*base, "--namespace", "kube-system", "patch", "deployment", "metrics-server", "--type", "json"]
        + ["--patch", json.dumps(PATCH)],
    ]  # fmt: skip


def install(kubectl: Path, kubeconfig: Path) -> None:
    """Have metrics-server run."""
    for command in commands(kubectl, kubeconfig):
        run(command, timeout_seconds=TIMEOUT_SECONDS)
