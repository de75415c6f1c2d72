"""Asks a real server of the infer service damaged requests over both doors, and holds what it answers against the rules.

No status of 500 and above but 503, and 504 where the request itself named a time; no traceback to a client or in the log;
memory within a bound; and the process that answered the first answers the last.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
from children import bound_to_us, free_port
from infer_cases import PREDICT, Case, Cases
from infer_models import SmallModel

from windlass_core.contracts import InferServe
from windlass_core.store import Store
from windlass_infer.loader import load
from windlass_infer.predictor import Predictor

NAME = "fuzzed"
LOOPBACK = "127.0.0.1"
THREADS = 4
START_SECONDS = 60.0
ANSWER_SECONDS = 30.0
# Of the whole process at any time: a bare one has 120 MB, the intake 32 MB, and what a large body becomes a few times its 8 MB.
MEMORY_BYTES = 512 * 1024 * 1024
STATUSES = frozenset({200, 400, 408, 413, 415, 422, 429, 431, 503})
CODES = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"})
# One case in so many goes over gRPC.
GRPC_SHARE = 6
_BAD_WORDS = (b"Traceback (most recent call last)", b"unexpected error")


@dataclass
class Findings:
    """What came of the cases."""

    answers: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    peak_bytes: int = 0

    def add(self, other: "Findings") -> None:
        """Take in what another thread or server found."""
        self.answers += other.answers
        self.broken += other.broken
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)


@dataclass(frozen=True)
class Fuzzed:
    """A server of one model."""

    process: "subprocess.Popen[bytes]"
    port: int
    grpc_port: int
    predictor: Predictor
    log: Path


@contextmanager
def serving(model: SmallModel) -> Iterator[Fuzzed]:
    """A ready server of one process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("store", "files", "program"):
            (root / name).mkdir()
        variables = {"WINDLASS_STORE_URL": f"file://{root / 'store'}"}
        store = Store.open("fuzz", variables)
        published = model.publish(store, "small", root / "files")
        spec = InferServe(namespace="fuzz", name=NAME, model=published.reference, processes=1)
        loaded = load(spec, store, root / "program")
        loaded.engine.close()
        port, grpc_port = free_port(), free_port()
        program = [sys.executable, "-m", "windlass_infer", "serve", "--port", str(port), "--grpc-port", str(grpc_port)]
        pod = {"WINDLASS_RUN_SPEC": spec.to_json_text(), "WINDLASS_TERMINATION_LOG": str(root / "end")}
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(bound_to_us(program), env=os.environ | variables | pod, stdout=log, stderr=log)
        try:
            _wait_until_ready(process, port, root / "log")
            yield Fuzzed(process, port, grpc_port, loaded.predictor, root / "log")
        finally:
            process.kill()
            process.wait()


def fuzz(server: Fuzzed, count: int, seed: int) -> Findings:
    """Ask `count` damaged requests, from THREADS threads."""
    findings = Findings()
    with ThreadPoolExecutor(THREADS) as pool:
        share = count // THREADS
        asked = [pool.submit(_http, server, share - share // GRPC_SHARE, seed + thread) for thread in range(THREADS)]
        asked += [pool.submit(_grpc, server, share // GRPC_SHARE, seed + thread) for thread in range(THREADS)]
        for one in asked:
            findings.add(one.result())
    findings.peak_bytes = _peak_bytes(server.process.pid)
    if server.process.poll() is not None:
        findings.broken.append(f"the server ended with {server.process.returncode}")
    if findings.peak_bytes > MEMORY_BYTES:
        findings.broken.append(f"the server took {findings.peak_bytes:,} bytes of memory")
    log = server.log.read_bytes()
    findings.broken += [f"the log has {word.decode()!r}" for word in _BAD_WORDS if word in log]
    return findings


def _http(server: Fuzzed, count: int, seed: int) -> Findings:
    findings = Findings()
    paths = {True: f"/v1/models/{NAME}:predict", False: f"/v2/models/{NAME}/infer"}
    connection = HTTPConnection(LOOPBACK, server.port, timeout=ANSWER_SECONDS)
    for case in islice(Cases(server.predictor, seed).http(), count):
        # The bytes of UTF-8, where http.client would take Latin-1 only.
        headers = {name: value.encode().decode("latin-1") for name, value in case.headers.items()}
        try:
            connection.request("POST", paths[case.call == PREDICT], case.body, headers)
            response: HTTPResponse = connection.getresponse()
            _judge(findings, case, response.status, response.read())
        except TimeoutError:
            findings.broken.append(f"no answer within {ANSWER_SECONDS:.0f} s: {case}"[:500])
            connection.close()
        except (HTTPException, OSError):
            # A server that refuses a head or a length closes the connection, perhaps before the body was sent.
            findings.answers["closed"] += 1
            connection.close()
    connection.close()
    return findings


def _judge(findings: Findings, case: Case, status: int, body: bytes) -> None:
    findings.answers[str(status)] += 1
    in_time = status == 504 and ("headers" in case.kind or "json" in case.kind)
    if (status not in STATUSES and not in_time) or any(word in body for word in _BAD_WORDS):
        findings.broken.append(f"{status} {body[:200]!r} for {case}"[:1000])


def _grpc(server: Fuzzed, count: int, seed: int) -> Findings:
    findings = Findings()
    with grpc.insecure_channel(f"{LOOPBACK}:{server.grpc_port}") as channel:
        call: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for body in islice(Cases(server.predictor, seed).grpc(NAME), count):
            try:
                call(body, timeout=ANSWER_SECONDS)
                code, details = "OK", ""
            except grpc.RpcError as error:
                code, details = error.code().name, error.details() or ""
            findings.answers[code] += 1
            if code not in CODES or "Traceback" in details:
                findings.broken.append(f"{code} {details[:200]!r} for {body[:300]!r}")
    return findings


def _peak_bytes(pid: int) -> int:
    """The most memory that a process has had at a time."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"the server is not ready: {log.read_text()[-2000:]}")
