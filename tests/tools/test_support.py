"""What tests stand on: processes that end with the test run, ports that are free."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import children
import pytest

SUPPORT = Path(children.__file__).parent
END_SECONDS = 10
# Stands for a test run: starts a process, tells its number, and waits.
PARENT = """
import subprocess, sys
from children import bound_to_us
child = subprocess.Popen(bound_to_us(["sleep", "600"]))
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: f"ended by {number.name}")
def test_a_process_of_a_test_ends_with_the_test_run(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    with subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.exists()
        parent.send_signal(number)
    deadline = time.monotonic() + END_SECONDS
    while child.exists() and "(sleep) Z" not in (child / "stat").read_text():
        assert time.monotonic() < deadline, "the process goes on"
        time.sleep(0.01)


def test_ports_are_free_and_none_is_given_twice() -> None:
    ports = [children.free_port() for _ in range(100)]
    assert len(set(ports)) == len(ports)
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
