"""The load generator: one light process that sends prepared requests over kept-alive connections and times the answers.

    python -m serving.load PLAN    a pickled Plan in, a pickled Measured on standard output

Closed loop: each connection sends its next request when the answer to the last has come. Open loop: requests go out at times
drawn in advance, whatever the server does; a latency counts from the scheduled time, so that a stall of the server shows in
every request that it delayed. It runs on the cores that the server runs on, so it does as little as it can: one thread, epoll,
prepared bytes, no parsing beyond the status and the length. It keeps some answers whole for whoever checks that they are right.

Must not know: which server it speaks to, and what the bytes mean.
"""

from __future__ import annotations

import gc
import os
import pickle
import re
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from serving.plan import Measured, Plan

if TYPE_CHECKING:
    from array import array

# A connection's buffers hold a whole request, so that sending is always done at once.
SOCKET_BUFFER_BYTES = 1 << 20
# Read into memory that stays: to take so much anew for each answer costs the kernel more than the answer.
_RECEIVED = memoryview(bytearray(1 << 18))
# Longer than any answer may take; after it what is outstanding counts as failed.
DRAIN_SECONDS = 10.0
# Where requests are due sooner after one another than the first, the generator wakes as often as the second says, and not for
# each request and each answer: each time it takes a core from a server in the middle of its work. With waits of 0.2 ms it did
# so 5,000 times a second, and a fifth fewer were answered under overload. What it waits counts as the server's latency.
CROWD_SECONDS, CROWD_WAIT_SECONDS = 0.0002, 0.001
# The generator must not wait for a core behind the server that it measures: its lag would be reported as the server's latency.
NICENESS = -10

# What is said of a request that was taken in and then could not be answered in its time: no refusal, and never quick.
TOO_LATE = 504
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Connection:
    """One kept-alive connection with at most one request in flight."""

    __slots__ = ("begun", "buffer", "counts", "number", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DRAIN_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        self.socket.setblocking(False)  # with a time-out Python asks the kernel before each call whether it may be made
        self.buffer = b""
        self.begun = 0.0
        self.number = -1  # of the request in flight; -1: none
        self.counts = False

    def receive(self) -> bytes | None:
        """The whole answer once it is there; empty when the server has closed the connection."""
        try:
            length = self.socket.recv_into(_RECEIVED)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""
        if not length:
            return b""
        answer = self.buffer + _RECEIVED[:length]
        if _whole(answer):
            self.buffer = b""
            return answer
        self.buffer = answer
        return None


def _whole(answer: bytes) -> bool:
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    head = answer[:end]
    if length := _LENGTH.search(head):
        return len(answer) >= end + len(_HEAD_END) + int(length[1])
    if _CHUNKED.search(head):
        return answer.endswith(b"\r\n0\r\n\r\n")
    return True


class Generator:
    """Runs one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.measured = Measured()
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.free: deque[Connection] = deque()
        self.sent = 0
        self.kept = 0
        for _ in range(plan.connections):
            self._connect()

    def run(self) -> Measured:
        """Sends until the time is over, then waits for what is in flight."""
        gc.collect()
        gc.disable()
        started_cpu = time.process_time()
        start = time.perf_counter()
        if self.plan.arrivals is None:
            self._closed(start)
        else:
            self._open(start, self.plan.arrivals)
        self.measured.cpu_seconds = time.process_time() - started_cpu
        return self.measured

    def _connect(self) -> None:
        connection = Connection(self.plan.port)
        self.connections[connection.socket.fileno()] = connection
        self.epoll.register(connection.socket.fileno(), select.EPOLLIN)
        self.free.append(connection)

    def _closed(self, start: float) -> None:
        counted_from = start + self.plan.warm_up
        end = counted_from + self.plan.seconds
        limit = self.plan.limit or sys.maxsize
        while self.free and self.sent < limit:
            self._send(self.free.popleft(), time.perf_counter(), counts=self.plan.warm_up == 0)
        now = start
        while now < end and (self.sent < limit or len(self.free) < len(self.connections)):
            events = self.epoll.poll(1.0)
            for descriptor, _event in events:
                if connection := self._finish(descriptor):
                    now = time.perf_counter()
                    if now < end and self.sent < limit:
                        self._send(connection, now, counts=now >= counted_from)
                    else:
                        self.free.append(connection)
            now = time.perf_counter()
        self.measured.seconds = now - counted_from
        self._drain()

    def _open(self, start: float, arrivals: array[float]) -> None:
        """Sends each request when its time has come and a connection is free."""
        counted_from = self.plan.warm_up
        index, total = 0, len(arrivals)
        poll, finish = self.epoll.poll, self._finish
        free_since = start
        while index < total:
            now = time.perf_counter()
            due = start + arrivals[index]
            while due <= now and self.free:
                self.measured.lags.append(now - max(due, free_since))
                if free_since > due:
                    self.measured.waited_for_connection += 1
                # The one that was free last, as pools of clients have it: more are used only as more are in flight.
                self._send(self.free.pop(), due, counts=arrivals[index] >= counted_from)
                index += 1
                if index == total:
                    break
                now, due = time.perf_counter(), start + arrivals[index]
            self._wait(due - now if self.free else DRAIN_SECONDS)
            starved = not self.free
            for descriptor, _event in poll(0):
                if connection := finish(descriptor):
                    self.free.append(connection)
            if starved and self.free:
                free_since = time.perf_counter()
        self.measured.seconds = time.perf_counter() - start - counted_from
        self._drain()

    def _wait(self, seconds: float) -> None:
        """Until the next request is due or an answer has come; in a crowd a moment, for several of both.

        epoll waits in whole milliseconds; select on the epoll itself waits in microseconds.
        """
        if seconds < CROWD_SECONDS:
            time.sleep(CROWD_WAIT_SECONDS)
        else:
            select.select([self.epoll.fileno()], (), (), seconds)

    def _send(self, connection: Connection, begun: float, *, counts: bool) -> None:
        number = self.sent % len(self.plan.requests)
        self.sent += 1
        connection.number, connection.begun, connection.counts = number, begun, counts
        # A connection that the server has closed is found when the answer is read.
        with suppress(ConnectionError):
            connection.socket.send(self.plan.requests[number])

    def _finish(self, descriptor: int) -> Connection | None:
        """The connection of an answer that is whole now, free again; a broken one is replaced."""
        connection = self.connections[descriptor]
        answer = connection.receive()
        if answer is None:
            return None
        now = time.perf_counter()
        status = int(answer[9:12]) if answer else 0
        if connection.number >= 0 and connection.counts:
            self._count(connection, status, now - connection.begun, answer)
        connection.number = -1
        if answer and not _closes(status, answer):
            return connection
        self.epoll.unregister(descriptor)
        del self.connections[descriptor]
        connection.socket.close()
        with suppress(OSError):
            self._connect()
            return self.free.pop()
        return None

    def _count(self, connection: Connection, status: int, seconds: float, answer: bytes) -> None:
        measured = self.measured
        measured.statuses[status] = measured.statuses.get(status, 0) + 1
        if status != 200:
            if status != TOO_LATE:
                measured.refused.append(seconds)
            return
        measured.latencies.append(seconds)
        self.kept += 1
        if self.kept >= self.plan.sample_every:
            self.kept = 0
            measured.samples.append((connection.number, answer))

    def _drain(self) -> None:
        """Wait for what is in flight; what never comes counts with status 0."""
        until = time.perf_counter() + DRAIN_SECONDS
        while (now := time.perf_counter()) < until and any(c.number >= 0 for c in self.connections.values()):
            for descriptor, _event in self.epoll.poll(until - now):
                if connection := self._finish(descriptor):
                    self.free.append(connection)
        missing = sum(connection.number >= 0 and connection.counts for connection in self.connections.values())
        if missing:
            self.measured.statuses[0] = self.measured.statuses.get(0, 0) + missing


def _closes(status: int, answer: bytes) -> bool:
    """Whether the server will close the connection after this answer."""
    return status >= 400 and b"connection: close" in answer[: answer.find(_HEAD_END)].lower()


def _go_first() -> None:
    """Take a core whenever one is needed: before other processes, and, where Linux shares cores by session, other sessions."""
    with suppress(PermissionError):
        os.nice(NICENESS)
        os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def main() -> None:
    plan: Plan = pickle.loads(Path(sys.argv[1]).read_bytes())  # noqa: S301  # written by the bench that started this process
    _go_first()
    pickle.dump(Generator(plan).run(), sys.stdout.buffer)


if __name__ == "__main__":
    main()
