"""Which kind of cluster: CLUSTER=auto|bare|kind|minikube|current.

`auto` takes kind or minikube when Docker answers, else bare; `current` is taken only when asked, because it is the
user's own cluster. Knows: the backends. Must not know: how they do their work.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import bare
import current
import kind
import minikube
from console import ClusterError, say
from layout import Layout
from shell import attempt, found

DOCKER_TIMEOUT_SECONDS = 10.0


class Backend(Protocol):
    """What every kind of cluster offers; each is a module."""

    NAME: str

    def up(self, layout: Layout) -> None:
        """Have the cluster run; return soon when it does already."""

    def down(self, layout: Layout) -> None:
        """Remove the cluster."""

    def status(self, layout: Layout) -> tuple[bool, str]:
        """Whether it runs, and what there is to say about it."""

    def kubeconfig(self, layout: Layout) -> Path:
        """The kubeconfig to use."""

    def program_folders(self, layout: Layout) -> tuple[Path, ...]:
        """Folders with kubectl and helm that should come first in PATH."""


BACKENDS: dict[str, Backend] = {"bare": bare, "kind": kind, "minikube": minikube, "current": current}


def wanted() -> str:
    """The value of CLUSTER. Raises ClusterError when it is none of the known ones."""
    name = os.environ.get("CLUSTER") or "auto"
    if name not in {"auto", *BACKENDS}:
        raise ClusterError(f"CLUSTER={name} is not known; it is one of: auto, {', '.join(BACKENDS)}.")
    return name


def docker_answers() -> bool:
    """Whether a Docker daemon can be used."""
    if found("docker") is None:
        return False
    asked = attempt(["docker", "version", "--format", "{{.Server.Version}}"], timeout_seconds=DOCKER_TIMEOUT_SECONDS)
    return asked.returncode == 0


def automatic(*, docker: bool, programs: set[str]) -> str:
    """What `auto` means on a machine where Docker answers or not, and these programs are installed."""
    if docker:
        for name in ("kind", "minikube"):
            if name in programs:
                return name
    return "bare"


def for_up(layout: Layout) -> Backend:
    """The backend to start; one that was started before and not removed is kept, unless another is asked for."""
    name = wanted()
    before = remembered(layout)
    if name == "auto":
        if before is None:
            docker = docker_answers()
            programs = {program for program in ("kind", "minikube") if found(program)}
            before = automatic(docker=docker, programs=programs)
            if docker and before == "bare":
                say("Docker answers, but neither kind nor minikube is installed; trying CLUSTER=bare.")
        name = before
    elif before not in {None, name}:
        raise ClusterError(f"A cluster of the kind `{before}` is up; end it first (CLUSTER={before} ... down).")
    return BACKENDS[name]


def for_use(layout: Layout) -> Backend:
    """The backend of the cluster that is there, for every verb but `up`."""
    name = wanted()
    return BACKENDS[name if name != "auto" else remembered(layout) or "bare"]


def _marker(layout: Layout) -> Path:
    return layout.state.with_name("cluster.kind")


def remember(layout: Layout, backend: Backend) -> None:
    """Note which backend runs, so that later commands need no CLUSTER; the user's own cluster is always asked for."""
    if backend.NAME != current.NAME:
        _marker(layout).write_text(backend.NAME)


def remembered(layout: Layout) -> str | None:
    """The backend that runs, as far as was noted."""
    name = _marker(layout).read_text().strip() if _marker(layout).exists() else ""
    return name if name in BACKENDS else None


def forget(layout: Layout) -> None:
    """Note that none runs."""
    _marker(layout).unlink(missing_ok=True)
