"""Start the cluster's long-lived programs, know whether they live, and say why when they do not.

Knows: how to start a program that outlives this command, and how to wait for it. Must not know: which programs there
are (`control_programs.py`, `node.py`, `addons.py`, `registry.py`).
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cgroups
from console import ClusterError
from layout import Layout
from shell import SYSTEM_PATH, last_lines, wait_until

PROBE_TIMEOUT_SECONDS = 2.0
START_TIMEOUT_SECONDS = 120.0  # a start takes seconds, unless images are built at the same time
JOIN_SECONDS = 10.0

# The shell joins the group before it becomes the program, so that no process of ours is ever outside; and it takes as
# many open files as it may, since pods inherit the limit.
JOIN_AND_BECOME = 'echo $$ > "$1/cgroup.procs" && ulimit -n "$(ulimit -H -n)" && shift && exec "$@"'


@dataclass(frozen=True)
class Daemon:
    """A program that runs for as long as the cluster does."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    listens: tuple[tuple[str, int], ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def alive(name: str) -> bool:
    """Whether the component has a process."""
    return bool(cgroups.component_processes(name))


def start(daemon: Daemon, layout: Layout) -> None:
    """Start a program and return at once; `wait_ready` tells what came of it.

    Raises ClusterError when another program holds one of its ports.
    """
    for host, port in daemon.listens:
        _claim(daemon.name, host, port)
    layout.logs.mkdir(parents=True, exist_ok=True)
    group = cgroups.component(daemon.name)
    with layout.log(daemon.name).open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", JOIN_AND_BECOME, "sh", str(group), *daemon.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            # Nothing of the user's shell: a proxy or a KUBECONFIG there must not change what the cluster does, and
            # nothing that a program writes to its home stays behind.
            env={"PATH": SYSTEM_PATH, "HOME": str(layout.state), **daemon.environment},
            start_new_session=True,
        )
    # Only once it is in its group can anyone see whether it lives.
    wait_until(lambda: alive(daemon.name) or process.poll() is not None, JOIN_SECONDS)


def wait_ready(daemon: Daemon, layout: Layout, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
    """Wait until the program answers. Raises ClusterError with the end of its log when it dies or does not answer."""

    def decided() -> bool:
        return daemon.ready() or not alive(daemon.name)

    in_time = wait_until(decided, timeout_seconds)
    if in_time and alive(daemon.name):
        return
    log = layout.log(daemon.name)
    what = "ended" if in_time else f"did not become ready within {timeout_seconds:.0f} s"
    tail = last_lines(log.read_text(errors="replace")) if log.exists() else "    (no log)"
    raise ClusterError(f"The component `{daemon.name}` {what}. The end of its log, {log}:\n{tail}")


def _claim(name: str, host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ClusterError(
                f"Port {port} on {host}, which `{name}` needs, is held by another program (`ss -ltnp sport = {port}` names it)."
            ) from error


def answers(host: str, port: int, path: str, authority: Path | None = None) -> bool:
    """Whether an HTTP GET is answered with 200; over TLS when an authority is given."""
    try:
        connection: http.client.HTTPConnection
        if authority is None:
            connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_SECONDS)
        else:
            trust = ssl.create_default_context(cafile=str(authority))
            connection = http.client.HTTPSConnection(host, port, timeout=PROBE_TIMEOUT_SECONDS, context=trust)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
