"""CLUSTER=current: the cluster that KUBECONFIG, or kubectl's own default, points to. Nothing of it is changed here."""

from __future__ import annotations

import os
from pathlib import Path

import tools
from console import ClusterError, say
from layout import Layout
from shell import attempt

NAME = "current"
TIMEOUT_SECONDS = 20.0


def kubeconfig(_: Layout) -> Path:
    """The first file that KUBECONFIG names, or kubectl's default."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def program_folders(layout: Layout) -> tuple[Path, ...]:
    """The cache's kubectl and helm, if the user has none."""
    return tools.folders(layout)


def up(layout: Layout) -> None:
    """Check that the cluster answers. Raises ClusterError with what it said when it does not."""
    tools.ensure(layout)
    running, text = status(layout)
    if not running:
        raise ClusterError(f"The cluster of {kubeconfig(layout)} does not answer:\n{text}")
    say(text)


def down(_: Layout) -> None:
    """Leave the user's cluster alone."""
    say("CLUSTER=current is your own cluster; it stays as it is.")


def status(layout: Layout) -> tuple[bool, str]:
    """Whether the API server answers, and what it says of its version."""
    asked = attempt(
        [tools.kubectl(layout), "--kubeconfig", kubeconfig(layout), "--request-timeout=10s", "version"],
        timeout_seconds=TIMEOUT_SECONDS,
    )
    return asked.returncode == 0, (asked.stdout + asked.stderr).strip()
