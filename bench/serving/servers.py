"""The servers that are compared: how each is started, asked and understood.

Every one serves the same torch module with the same number of processes, in the form of request that suits it best: bytes
where it takes bytes, base64 in JSON where it does not.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving import machine
from serving.venvs import python_of
from serving.wire import Read, Write
from serving.workloads import Array, Workload

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Server:
    """One way to serve.

    Attributes:
        venv: name of the virtual environment that it needs; None: the project's own.
        command: after the interpreter; `{workload}`, `{port}`, `{processes}`, `{batch}` and `{folder}` are filled in.
        environment: likewise.
        prepare: writes what the server needs into the run's folder before the start; gives more of its environment.
        batch: rows that it may compute together.
        model: whether it computes; False for one that answers without the model.
        peer: whether it is one of those that the targets speak of.
    """

    name: str
    command: Sequence[str]
    write: Write
    read: Read
    venv: str | None = None
    batch: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[["Start"], Mapping[str, str]] = lambda _start: {}
    model: bool = True
    peer: bool = False

    def request(self, workload: Workload, row: Array) -> bytes:
        """A whole request."""
        path, headers, body = self.write(workload, row)
        head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*head, "", ""]).encode() + body

    def understand(self, workload: Workload, answer: bytes) -> NDArray[np.float32]:
        """The numbers in a whole answer. Raises when it is none."""
        head, _, body = answer.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            body = _joined(body)
        return self.read(workload, head, body)


@dataclass(frozen=True)
class Start:
    """What a server is started with."""

    workload: Workload
    port: int
    processes: int
    batch: int
    folder: Path


class Running:
    """A server as processes, and its port; ends with the `with` block."""

    def __init__(self, server: Server, workload: Workload, processes: int, folder: Path, port: int) -> None:
        self.server, self.workload, self.port = server, workload, port
        self.mark = uuid.uuid4().hex
        self.log = folder / f"{server.name}-{workload.name}.log"
        self._start = Start(workload, port, processes, server.batch, folder / self.mark[:8])
        self._start.folder.mkdir()

    def __enter__(self) -> "Running":
        server, start = self.server, self._start
        filled = {name: str(getattr(start, name)) for name in ("port", "processes", "batch", "folder")}
        filled["workload"] = start.workload.name
        environment = os.environ | {
            machine.MARK_VARIABLE: self.mark,
            "PYTHONPATH": str(HERE.parent),
            "OMP_NUM_THREADS": "1",  # one thread a process: two on a core only wait for one another
            "PYTHONWARNINGS": "ignore",
        }
        # As in an image, where all is compiled before: with this set, each start would compile every module again.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment |= {name: value.format(**filled) for name, value in server.environment.items()}
        environment |= server.prepare(start)
        python = python_of(server.venv) if server.venv else Path(sys.executable)
        environment["PATH"] = f"{python.parent}:{environment['PATH']}"
        self.started_at = time.perf_counter()
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(python), *(word.format(**filled) for word in server.command)],
                stdout=output,
                stderr=output,
                env=environment,
                cwd=start.folder,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        deadline = time.monotonic() + STOP_SECONDS
        # Children that outlive their parent (Ray's and BentoML's do for a while) would take the next server's cores.
        while left := list(machine.marked(self.mark)):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.server.name} does not end: {left}")
            time.sleep(0.05)
        self._process.wait()
        shutil.rmtree(self._start.folder, ignore_errors=True)

    def check_alive(self) -> None:
        """Raises RuntimeError with the end of its log when the server is gone."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.server.name} ended with {self._process.returncode}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what the server has printed."""
        return self.log.read_text(errors="replace")[-2000:]


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        chunks = rest[length + 2 :] if length else b""
    return body
