"""A real S3 server for tests: the same versitygw, built from the same pinned module, as the chart's embedded store.

A `conftest.py` imports the fixtures it wants. Where the program was not built the tests fail and say how to build it: a store
that was never tested on S3 is not tested.
"""

import itertools
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from children import free_port, running

START_SECONDS = 20


@dataclass(frozen=True)
class S3Server:
    """A running server; every bucket is a folder of its data."""

    port: int
    data: Path
    access_key: str
    secret_key: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def environment(self, prefix: str = "") -> dict[str, str]:
        """Environment that names an empty bucket of its own, as a Windlass pod gets it."""
        bucket = f"bucket-{next(self._numbers)}"
        (self.data / bucket).mkdir()
        return {
            "WINDLASS_STORE_URL": f"s3://{bucket}{prefix}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def running_server(folder: Path) -> Iterator[S3Server]:
    """versitygw on a free port of the loopback, with its data and its log in `folder`; ended with the block."""
    program = _program()
    port = free_port()
    data = folder / "data"
    data.mkdir()
    server = S3Server(port, data, access_key="tests", secret_key=secrets.token_hex(16))
    keys = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    command = [str(program), "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(data)]
    log = folder / "versitygw.log"
    with running(command, log, keys) as process:
        _wait_until_it_listens(process, port, log)
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of a folder."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_environment(s3_server: S3Server) -> dict[str, str]:
    """Environment that names an empty bucket."""
    return s3_server.environment()


def _program() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windlass" / "bin"
    builds = sorted(cache.glob("versitygw-*/versitygw"), key=lambda path: path.parent.stat().st_mtime)
    if not builds:
        pytest.fail(
            "versitygw is not built; build it with: python3 tests/cluster binaries (make up does so too)", pytrace=False
        )
    return builds[-1]


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"versitygw did not start:\n{log.read_text()}", pytrace=False)
            time.sleep(0.01)
        else:
            return
