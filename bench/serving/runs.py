"""One measurement: load on one server, who used the cores meanwhile, and whether the answers were right."""

import os
import pickle
import random
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving import machine
from serving.load import TOO_LATE
from serving.plan import Measured, Plan
from serving.servers import Running

BENCH = Path(__file__).resolve().parents[1]
# Caches fill, connections open, batchers learn: none of it is what a server does all day.
WARM_UP_SECONDS = 1.0
# Too much at once, not now: what a server says under overload that is no fault. Neither is it to say that one that was taken in
# has become too late.
REFUSALS = (429, 503)
# One after the other, each on a connection of its own, so that no process is left that is still starting.
ANSWERS_OF_READY = 8
# Beyond its time the generator waits for what is outstanding; then it is stuck.
GENERATOR_GRACE_SECONDS = 60.0
# For so many requests as are asked for: an end all the same, should the server stop answering.
ENDLESS_SECONDS = 3600.0
# Connections of an open loop: more than any server here has in flight before its latency says all. With a deadline so many that
# those in flight are never fewer than fit into twice the deadline: a client that kept them to itself would hide the overload
# from the server, and count what nobody was told of as late.
OPEN_CONNECTIONS = 256
CONNECTED_DEADLINES = 2.0
MOST_CONNECTIONS = 4096
# A generator that is late by so much, for one request in a hundred, measures itself.
LAG_LIMIT_SECONDS = 0.005
# A generator that has used so much of a core may have been what limited the rate.
GENERATOR_CORE_SHARE = 0.9
# Others that used so much of a core: the figure is shown as noisy.
FOREIGN_CORE_SHARE = 0.1
# A burst of an open loop with bursts: so many times the mean, for this long, and less in between.
BURST_FACTOR, BURST_SECONDS, BURST_EVERY_SECONDS = 2.2, 0.5, 2.0


@dataclass
class Run:
    """Figures of one run. Latencies in ms; `cpu_us` are CPU time of server and generator for a request, refused or not.

    `late` are those that were taken in and then told that it is too late for them; `capacity_share` is what was answered in
    time, of what the same processes could do right before and after.
    """

    server: str
    workload: str
    load: str
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    answered: int = 0
    refused: int = 0
    late: int = 0
    failed: int = 0
    in_time: float = 0.0
    capacity_share: float = 0.0
    refusal_p99: float = 0.0
    server_cpu_us: float = 0.0
    generator_cpu_us: float = 0.0
    generator_core_share: float = 0.0
    lag_p99: float = 0.0
    foreign_cores: float = 0.0
    stolen_cores: float = 0.0
    memory_mb: float = 0.0
    wrong: int = 0
    checked: int = 0
    void: str = ""
    latencies: list[float] = field(default_factory=list, repr=False)

    @property
    def noisy(self) -> bool:
        """Whether somebody else used the cores."""
        return self.foreign_cores + self.stolen_cores > FOREIGN_CORE_SHARE

    def document(self) -> dict[str, object]:
        """For the raw results; latencies as a hundred quantiles."""
        quantiles = np.quantile(self.latencies, np.linspace(0, 1, 101)).round(4).tolist() if self.latencies else []
        return asdict(self) | {"latencies": quantiles, "noisy": self.noisy}


class Client:
    """Asks one running server."""

    def __init__(self, running: Running, expected: NDArray[np.float32]) -> None:
        self._running = running
        self._expected = expected
        workload = running.workload
        self._requests = [running.server.request(workload, row) for row in workload.questions()]

    def wait_until_ready(self, seconds: float = 180.0) -> float:
        """Until real questions are answered, by all processes. Returns seconds from the server's start to its first answer."""
        deadline = time.monotonic() + seconds
        first: float | None = None
        answered = 0
        while time.monotonic() < deadline:
            self._running.check_alive()
            if asked_once(self._running.port, self._requests[0]):
                answered += 1
                first = first or time.perf_counter() - self._running.started_at
                if answered == ANSWERS_OF_READY:
                    return first
            else:
                answered = 0
                time.sleep(0.01)
        raise RuntimeError(f"{self._running.server.name} was not ready within {seconds:.0f} s:\n{self._running.log_tail()}")

    def check(self) -> None:
        """Every question alone, then many at once: all get their own answers, as eager torch has them. Raises RuntimeError."""
        if not self._running.server.model:
            return
        for connections in (1, 16):
            plan = Plan(
                self._running.port, self._requests, connections, 0.0, 60.0, sample_every=1, limit=4 * len(self._requests)
            )
            measured = self._generate(plan)
            wrong = self._wrong(measured)
            if wrong or measured.statuses.keys() != {200} or len(measured.samples) != plan.limit:
                name, workload = self._running.server.name, self._running.workload.name
                raise RuntimeError(
                    f"{name} on {workload}: {wrong} wrong answers of {len(measured.samples)}, {measured.statuses}"
                )

    def requests(self, count: int, connections: int) -> None:
        """So many requests, however long they take. Raises RuntimeError when one fails or is answered wrongly."""
        plan = Plan(self._running.port, self._requests, connections, 0.0, ENDLESS_SECONDS, limit=count)
        measured = self._generate(plan)
        if self._wrong(measured) or measured.statuses != {200: count}:
            raise RuntimeError(f"{self._wrong(measured)} wrong answers, {measured.statuses}")

    def closed(self, connections: int, seconds: float, *, label: str = "") -> Run:
        """So many connections, each with one request in flight."""
        plan = Plan(self._running.port, self._requests, connections, WARM_UP_SECONDS, seconds)
        return self._run(label or f"closed {connections}", plan)

    def open(self, rate: float, seconds: float, *, label: str, deadline: float | None = None, bursts: bool = False) -> Run:
        """So many requests a second, at random times, whatever the server does.

        Args:
            deadline: seconds; told to the server with each request, and counted as `in_time`.
            bursts: the rate changes between more and less, with the same mean.
        """
        requests = self._requests
        if deadline is not None:
            line = f"Request-Timeout: {deadline:.6f}\r\n".encode()
            requests = [request.replace(b"Content-Length", line + b"Content-Length", 1) for request in requests]
        total = WARM_UP_SECONDS + seconds
        arrivals = draw_arrivals(rate, total, bursts=bursts)
        connections = min(max(OPEN_CONNECTIONS, int(CONNECTED_DEADLINES * rate * (deadline or 0.0))), MOST_CONNECTIONS)
        plan = Plan(self._running.port, requests, connections, WARM_UP_SECONDS, seconds, arrivals)
        return self._run(label, plan, deadline)

    def _run(self, load: str, plan: Plan, deadline: float | None = None) -> Run:
        before, cpu_before, started = machine.usage(self._running.mark), machine.Cpu.now(), time.perf_counter()
        own_before = time.process_time()
        measured = self._generate(plan)
        wall = time.perf_counter() - started
        after, cpu_after = machine.usage(self._running.mark), machine.Cpu.now()
        ours = after.cpu - before.cpu + measured.cpu_seconds + time.process_time() - own_before
        latencies = np.sort(np.asarray(measured.latencies)) * 1000
        answered = len(latencies)
        refused = sum(count for status, count in measured.statuses.items() if status in REFUSALS)
        late = measured.statuses.get(TOO_LATE, 0)
        sent = (answered + refused + late) * (plan.warm_up + plan.seconds) / plan.seconds
        p50, p99, p999 = np.quantile(latencies, (0.5, 0.99, 0.999)) if answered else (0.0, 0.0, 0.0)
        lag = float(np.quantile(np.asarray(measured.lags), 0.99)) if measured.lags else 0.0
        run = Run(
            server=self._running.server.name,
            workload=self._running.workload.name,
            load=load,
            rate=answered / measured.seconds,
            p50=float(p50),
            p99=float(p99),
            p999=float(p999),
            answered=answered,
            refused=refused,
            late=late,
            failed=sum(measured.statuses.values()) - answered - refused - late,
            in_time=float(np.sum(latencies <= deadline * 1000)) / measured.seconds if deadline else 0.0,
            refusal_p99=float(np.quantile(np.asarray(measured.refused), 0.99)) * 1000 if measured.refused else 0.0,
            server_cpu_us=(after.cpu - before.cpu) / max(sent, 1) * 1e6,
            generator_cpu_us=measured.cpu_seconds / max(sent, 1) * 1e6,
            generator_core_share=measured.cpu_seconds / wall,
            lag_p99=lag * 1000,
            foreign_cores=max(0.0, (cpu_after.busy - cpu_before.busy - ours) / wall),
            stolen_cores=(cpu_after.steal - cpu_before.steal) / wall,
            memory_mb=after.memory_bytes / 1e6,
            wrong=self._wrong(measured),
            checked=len(measured.samples),
            latencies=latencies.tolist(),
        )
        run.void = void_reason(run)
        return run

    def _generate(self, plan: Plan) -> Measured:
        with tempfile.NamedTemporaryFile(suffix=".plan") as file:
            pickle.dump(plan, file)
            file.flush()
            done = subprocess.run(
                [sys.executable, "-m", "serving.load", file.name],
                check=True,
                capture_output=True,
                timeout=plan.warm_up + plan.seconds + GENERATOR_GRACE_SECONDS,
                env=os.environ | {"PYTHONPATH": str(BENCH)},
            )
        measured: Measured = pickle.loads(done.stdout)  # noqa: S301  # written by the process that was just started
        return measured

    def _wrong(self, measured: Measured) -> int:
        """Kept answers that are not what torch says to that question."""
        server, workload = self._running.server, self._running.workload
        if not server.model:
            return 0
        wrong = 0
        for number, answer in measured.samples:
            found, expected = server.understand(workload, answer), self._expected[number]
            right = found.shape == expected.shape and np.allclose(
                found, expected, rtol=workload.tolerance, atol=workload.tolerance
            )
            wrong += not right
        return wrong


def asked_once(port: int, request: bytes) -> bool:
    """Whether a request is answered with 200, on a connection of its own."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(65536).startswith(b"HTTP/1.1 200")
    return False


def void_reason(run: Run) -> str:
    """Why a run must not be used; empty when it may."""
    if run.wrong:
        return f"{run.wrong} of {run.checked} answers were wrong"
    if run.failed:
        return f"{run.failed} requests failed"
    if run.lag_p99 > LAG_LIMIT_SECONDS * 1000:
        return f"the generator was late by {run.lag_p99:.1f} ms"
    if not run.answered and not run.refused:
        return "nothing was answered"
    return ""


def draw_arrivals(rate: float, seconds: float, *, bursts: bool, seed: int = 1) -> "array[float]":
    """Times of a Poisson process of a mean rate; with bursts its rate goes up and down, and the mean stays."""
    source = random.Random(seed)  # noqa: S311  # the same for all servers
    low = (BURST_EVERY_SECONDS - BURST_FACTOR * BURST_SECONDS) / (BURST_EVERY_SECONDS - BURST_SECONDS)
    times, now = array("d"), 0.0
    while True:
        factor = 1.0
        if bursts:
            factor = BURST_FACTOR if now % BURST_EVERY_SECONDS < BURST_SECONDS else low
        now += source.expovariate(rate * factor)
        if now >= seconds:
            return times
        times.append(now)
