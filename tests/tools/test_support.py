"""What tests stand on: processes that end with the test run, ports that are free."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import children
import pytest
from waiting import until

SUPPORT = Path(children.__file__).parent
END_SECONDS = 10
# Stands for a test run: starts a process, which tells its number once it is what it shall be, and waits.
PARENT = """
import subprocess
from children import bound_to_us
with subprocess.Popen(bound_to_us(["sh", "-c", "echo $$; exec sleep 60"])) as child:
    child.wait()
"""


def goes_on(process: Path) -> bool:
    try:
        return ") Z " not in (process / "stat").read_text()  # a dead one may wait for somebody to take note
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: f"ended by {number.name}")
def test_a_process_of_a_test_ends_with_the_test_run(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    with subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        assert goes_on(child)
        parent.send_signal(number)
        until(lambda: not goes_on(child), "the end of the process", seconds=END_SECONDS)


def test_ports_are_free_and_none_is_given_twice() -> None:
    ports = [children.free_port() for _ in range(100)]
    assert len(set(ports)) == len(ports)
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
