"""Serving with real processes: whatever dies, no caller gets a wrong answer, and what is left goes on."""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import tritonclient.grpc
import waiting
from children import free_port, running
from infer_models import VOCABULARY, small_models

from windlass_core.contracts import InferServe
from windlass_core.store import Store

pytestmark = pytest.mark.timeout(300)  # beside other work a process takes half a minute to start

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 120.0
TABLE = np.arange(4 * VOCABULARY, dtype=np.float32).reshape(VOCABULARY, 4)
CALLERS = 8
# So many with so much to read, and so little time for it, are several times what two processes can do.
HURRIED, LONG, HURRY_SECONDS = 24, 15_000, 0.02
# A request leaves 10 bytes behind and a million of them 10 MB: this would be seen within the requests below.
LEAK_BYTES = 1_000_000
SETTLING_REQUESTS, WATCHED_REQUESTS = 4_000, 16_000


until = partial(waiting.until, seconds=PATIENCE_SECONDS)


@dataclass
class Pod:
    """The service with several processes."""

    process: "Popen[bytes]"
    port: int
    grpc_port: int
    log: Path

    def metric(self, name: str) -> float:
        with urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=20) as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def workers(self) -> list[int]:
        """Processes that serve: the parent's children, or itself when it is alone."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sorted(map(int, children)) or [self.process.pid]

    def owner_of(self, client_port: int) -> int | None:
        """The process that has the connection from this port of a client."""
        inodes = {
            fields[9]
            for table in ("tcp", "tcp6")
            for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
            if int(fields[1].rpartition(":")[2], 16) == self.port and int(fields[2].rpartition(":")[2], 16) == client_port
        }
        wanted = {f"socket:[{inode}]" for inode in inodes}
        return next((pid for pid in self.workers() if wanted & set(descriptors(pid))), None)


def descriptors(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(link.readlink())
        except OSError:
            continue


@contextmanager
def pod(folder: Path, processes: int) -> Iterator[Pod]:
    (folder / "files").mkdir()
    environment = {"WINDLASS_STORE_URL": f"file://{folder}/store"}
    version = small_models()["ids"].publish(Store.open("team", environment), "ids", folder / "files")
    spec = InferServe(namespace="team", name="ids", model=version.reference, engine="onnxruntime", processes=processes)
    port, grpc_port, log = free_port(), free_port(), folder / "log"
    variables = environment | {"WINDLASS_RUN_SPEC": spec.to_json_text(), "WINDLASS_TERMINATION_LOG": str(folder / "end")}
    program = [sys.executable, "-m", "windlass_infer", "serve", "--port", str(port), "--grpc-port", str(grpc_port)]
    with running(program, log, variables) as process:
        started = Pod(process, port, grpc_port, log)
        until(started.ready, "the pod is ready")
        yield started


@dataclass
class Caller:
    """Asks one question after the other on one connection, each with ids of its own; connects again when it must."""

    pod: Pod
    number: int
    stop: threading.Event
    limit: int = sys.maxsize
    answered: int = 0
    wrong: list[Any] = field(default_factory=list)
    failed_ports: list[int] = field(default_factory=list)
    port: int = 0

    def run(self) -> None:
        random = np.random.default_rng(self.number)
        connection = self.connected()
        while not self.stop.is_set() and self.answered < self.limit:
            ids = random.integers(0, VOCABULARY, size=5)
            try:
                found = self.ask(connection, ids.tolist())
            except (OSError, HTTPException):
                self.failed_ports.append(self.port)
                connection.close()
                connection = self.connected()
                continue
            self.answered += 1
            if not np.allclose(found, TABLE[ids].mean(axis=0)):
                self.wrong.append((ids, found))
        connection.close()

    def connected(self) -> HTTPConnection:
        connection = HTTPConnection(LOOPBACK, self.pod.port, timeout=60)
        connection.connect()
        self.port = connection.sock.getsockname()[1]
        return connection

    def ask(self, connection: HTTPConnection, ids: list[int]) -> Any:
        tensor = {"name": "ids", "datatype": "INT64", "shape": [1, len(ids)], "data": ids}
        connection.request("POST", "/v2/models/ids/infer", json.dumps({"inputs": [tensor]}))
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return outputs["mean"]


@contextmanager
def load(pod: Pod, kind: type["Caller"] = Caller, number: int = CALLERS) -> Iterator[list[Caller]]:
    """Callers, asking while the block runs."""
    stop = threading.Event()
    callers = [kind(pod, one, stop) for one in range(number)]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass
class Hurried(Caller):
    """Asks what takes long to read, with so little time that many of its like are refused."""

    refused: int = 0

    def __post_init__(self) -> None:
        self.expected = TABLE[self.number % VOCABULARY]
        tensor = {"name": "ids", "datatype": "INT64", "shape": [1, LONG], "data": [self.number % VOCABULARY] * LONG}
        self.body = json.dumps({"inputs": [tensor]}).encode()

    def run(self) -> None:
        connection = self.connected()
        while not self.stop.is_set():
            try:
                connection.request("POST", "/v2/models/ids/infer", self.body, {"Request-Timeout": str(HURRY_SECONDS)})
                answer = connection.getresponse()
                document = json.loads(answer.read())
            except (OSError, HTTPException):
                self.failed_ports.append(self.port)
                connection.close()
                connection = self.connected()
                continue
            if answer.status == 200:
                self.answered += 1
                if not np.allclose(document["outputs"][0]["data"], self.expected):
                    self.wrong.append(document)
            elif answer.status in {429, 504}:
                self.refused += 1
            else:
                self.wrong.append((answer.status, document))
        connection.close()


def progressed(callers: list[Caller], by: int) -> Callable[[], bool]:
    before = [caller.answered for caller in callers]
    return lambda: all(caller.answered >= start + by for caller, start in zip(callers, before, strict=True))


def overloaded(callers: Sequence[Hurried]) -> Callable[[], bool]:
    """Whether from now on a hundred have been answered, and a hundred refused."""

    def counted() -> tuple[int, int]:
        return sum(caller.answered for caller in callers), sum(caller.refused for caller in callers)

    before = counted()
    return lambda: all(now >= start + 100 for now, start in zip(counted(), before, strict=True))


def test_a_killed_process_fails_its_own_connections_alone_and_nobody_gets_a_wrong_answer(tmp_path: Path) -> None:
    with pod(tmp_path, processes=2) as served, load(served) as callers:
        until(progressed(callers, 20), "all callers are answered")
        workers = served.workers()
        owners = {caller.port: served.owner_of(caller.port) for caller in callers}
        assert sorted(set(owners.values()) - {None}) == workers
        os.kill(workers[0], signal.SIGKILL)
        survivors = [caller for caller in callers if owners[caller.port] == workers[1]]
        until(progressed(survivors, 50), "the other process goes on")
        until(lambda: served.metric("windlass_processes") == 2, "the process is back")
        until(progressed(callers, 20), "all callers are answered again")
        assert served.metric("windlass_process_deaths_total") == 1

    failed = [port for caller in callers for port in caller.failed_ports]
    assert {owners.get(port) for port in failed} <= {workers[0]}
    assert len(failed) == len(set(failed)) == list(owners.values()).count(workers[0])
    assert [caller.wrong for caller in callers] == [[]] * CALLERS


def test_calls_over_grpc_never_go_to_a_process_that_still_loads(tmp_path: Path) -> None:
    ids = tritonclient.grpc.InferInput("ids", [1, 3], "INT64").set_data_from_numpy(np.array([[1, 2, 3]]))
    with pod(tmp_path, processes=2) as served:

        def call() -> None:
            """On a connection of its own, so that the kernel chooses anew."""
            options = [("grpc.use_local_subchannel_pool", 1)]
            with tritonclient.grpc.InferenceServerClient(f"{LOOPBACK}:{served.grpc_port}", channel_args=options) as client:
                found = client.infer("ids", [ids], client_timeout=60).as_numpy("mean")
            np.testing.assert_allclose(found, [TABLE[1:4].mean(axis=0)])

        def listening() -> int:
            return served.log.read_text().count("listening for gRPC")

        until(lambda: listening() == 2, "both listen")
        dying = served.workers()[0]
        os.kill(dying, signal.SIGKILL)
        until(lambda: dying not in served.workers(), "the process is gone")
        while listening() == 2:
            call()
        assert served.metric("windlass_processes") == 2
        for _ in range(20):
            call()


def test_a_process_killed_under_overload_takes_only_its_own_connections_along(tmp_path: Path) -> None:
    with pod(tmp_path, processes=2) as served:
        with load(served, Hurried, HURRIED) as callers:
            until(overloaded(callers), "some are answered and others refused")
            os.kill(served.workers()[0], signal.SIGKILL)
            until(overloaded(callers), "the other process goes on")
            until(lambda: served.metric("windlass_processes") == 2, "the process is back")
            until(overloaded(callers), "both go on")

        # Connections move under overload: whose they were last is not known, but nobody loses more than one.
        assert sum(len(caller.failed_ports) for caller in callers) > 0
        assert max(len(caller.failed_ports) for caller in callers) == 1
        assert [caller.wrong for caller in callers] == [[]] * HURRIED
        with load(served) as others:
            until(progressed(others, 20), "all are answered when the overload is over")
        assert [caller.failed_ports for caller in others] == [[]] * CALLERS


def test_many_requests_leave_no_memory_behind(tmp_path: Path) -> None:
    with pod(tmp_path, processes=1) as served:

        def ask(requests: int) -> int:
            stop = threading.Event()
            callers = [Caller(served, number, stop, limit=requests // CALLERS) for number in range(CALLERS)]
            threads = [threading.Thread(target=caller.run) for caller in callers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [(caller.wrong, caller.failed_ports) for caller in callers] == [([], [])] * CALLERS
            return resident_bytes(served.process.pid)

        before = ask(SETTLING_REQUESTS)
        assert ask(WATCHED_REQUESTS) - before < LEAK_BYTES


def resident_bytes(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
