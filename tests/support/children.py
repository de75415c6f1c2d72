"""Processes that tests start: ports that they can have, and that they end with the test run however that one ends.

Knows nothing of what the processes are.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Below the range from which the kernel takes ports of outgoing connections, so that none of these takes one that was
# found free a moment ago.
FIRST_PORT, LAST_PORT = 20_000, 32_000
STOP_SECONDS = 10

_given: set[int] = set()


def free_port() -> int:
    """A port of the loopback that nobody listens on now, never the same one twice.

    Drawn at random, because test runs beside this one look for ports as well.
    """
    while True:
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if port in _given:
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        _given.add(port)
        return port


def bound_to_us(argv: Sequence[str]) -> list[str]:
    """The command, killed by the kernel when the test run dies, even by SIGKILL; elsewhere than on Linux the command alone."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else list(argv)


@contextmanager
def running(argv: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that writes all it says to `log`, while the context lasts."""
    with log.open("wb") as output:
        process = subprocess.Popen(bound_to_us(argv), env={**os.environ, **(variables or {})}, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
