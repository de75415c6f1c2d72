"""The image registry on the loopback: Debian's docker-registry, its content kept in the cache.

It is a component of the bare cluster, but stands by itself, because images are pushed to it while the rest is built.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cgroups
import processes
from console import step
from layout import PORTS, REGISTRY, Layout
from processes import Daemon
from shell import found, run

NAME = "registry"
STOP_GRACE_SECONDS = 5.0
COLLECT_TIMEOUT_SECONDS = 300.0  # it reads manifests and removes files; a busy disk takes its time for gigabytes


def storage(layout: Layout) -> Path:
    """Where the images lie."""
    return layout.cache / "registry"


def configuration(layout: Layout) -> dict[str, object]:
    """The registry's configuration file, as data."""
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage(layout))}, "delete": {"enabled": True}},
        "http": {"addr": REGISTRY},
    }


def daemon(layout: Layout) -> Daemon:
    """The program and how to know that it serves."""
    host = REGISTRY.partition(":")[0]
    return Daemon(
        NAME,
        (found("docker-registry") or "docker-registry", "serve", str(layout.configuration("registry.json"))),
        ready=lambda: processes.answers(host, PORTS.registry, "/v2/"),
        listens=((host, PORTS.registry),),
    )


def start_registry(layout: Layout) -> None:
    """Have the registry serve; one that serves already is left alone. Needs the Debian packages."""
    program = daemon(layout)
    if processes.alive(NAME) and program.ready():
        return
    with step(f"Image registry on {REGISTRY}"):
        cgroups.create()
        cgroups.kill_component(NAME, STOP_GRACE_SECONDS)
        storage(layout).mkdir(parents=True, exist_ok=True)
        path = layout.configuration("registry.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(configuration(layout), indent=2))  # JSON is YAML
        processes.start(program, layout)
        processes.wait_ready(program, layout)


def drop_partial_uploads(layout: Layout) -> None:
    """Remove what pushes that were killed have left; nobody goes on with them. Nobody may push meanwhile."""
    for upload in storage(layout).glob("docker/registry/v2/repositories/**/_uploads/*"):
        shutil.rmtree(upload, ignore_errors=True)


def collect_garbage(layout: Layout) -> None:
    """Remove the layers that no image has any more. Nobody may push meanwhile; who pulls is not disturbed.

    Raises ClusterError when the registry's program fails.
    """
    program = found("docker-registry") or "docker-registry"
    run([program, "garbage-collect", str(layout.configuration("registry.json"))], timeout_seconds=COLLECT_TIMEOUT_SECONDS)
