"""The parent of several serving processes: gives each connection to the one that has the fewest, and replaces those that die.

Ends as its processes end: told to stop, it tells them, goes on handing over until they stop taking, and waits for them. A
process that ends with a final code (its configuration or data can never be served) ends the pod with it. One that dies is
started anew; a pod whose processes keep dying ends with the reason.

Uses the standard library alone, so that it is small and quick to start. Knows no HTTP: what it hands over are sockets.
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from windlass_core.errors import WindlassError
from windlass_core.listening import DRAIN_DELAY_SECONDS, DRAIN_SECONDS, LINGER_SECONDS
from windlass_core.processes.answers import PRESENT, PodAnswers
from windlass_core.processes.deaths import DEATH_WINDOW_SECONDS, Deaths
from windlass_core.processes.frames import READ_BYTES, Frame, FrameReader
from windlass_core.processes.inquiries import Inquiries
from windlass_core.processes.process import Process

# Exit codes that say that trying again cannot help (see `windlass_core.errors`).
FINAL_CODES = frozenset(range(40, 44))
# Processes that were told to stop end by themselves; one that has not after this, beyond the time that it may take, is killed.
KILL_SECONDS = 3.0
# Connections taken in one turn of the loop.
ACCEPTED_AT_ONCE = 64
# When no process takes a connection now, it is offered again after this.
OFFER_AGAIN_SECONDS = 0.01
PROCESS_DIED = "ProcessDied"
# How often each process is asked whether it is there, and after how long without a word it is taken for dead: its event loop
# hangs, because a turn of it is never longer than the run of a large batch.
HEARTBEAT_SECONDS = 1.0
HANG_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs so many processes of one command on one listening socket."""

    def __init__(self, command: Sequence[str], count: int, listener: socket.socket, *, drain_delay: float, hang: float) -> None:
        self._command = command
        self._count = count
        self._listener = listener
        self._drain_delay = drain_delay
        self._hang = hang
        self._processes: dict[int, Process] = {}
        self._answers = PodAnswers(count)
        self._inquiries = Inquiries(self._answers)
        self._deaths = Deaths()
        self._handed = 0
        self._code = 0
        self._failure: WindlassError | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Until all processes have ended; see `supervise`."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for stop in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(stop, self._stop)
        self._listener.setblocking(False)
        for number in range(self._count):
            await self._start(number)
        self._accept_on()
        self._beat()
        await self._ended.wait()
        if self._failure:
            raise self._failure
        return self._code

    # Processes

    async def _start(self, number: int) -> None:
        process = self._processes[number] = await Process.start(number, self._command)
        self._loop.add_reader(process.pidfd, self._end, process)
        self._keep(self._listen(process))
        _log.info("process %d started", number, extra={"pid": process.program.pid})
        if self._stopping:
            process.program.send_signal(signal.SIGTERM)

    def _end(self, process: Process) -> None:
        """A process has ended."""
        self._loop.remove_reader(process.pidfd)
        code = process.end()
        del self._processes[process.number]
        self._inquiries.ended(process)
        if self._stopping:
            self._code = self._code or _exit_code(code)
        elif code in FINAL_CODES:
            self._code = code
            self._stop()
        else:
            self._died(process, code)
        if self._stopping and not self._processes:
            self._ended.set()

    def _beat(self) -> None:
        """Ask all processes whether they are there, and end those that have not said a word for too long."""
        now = self._loop.time()
        for process in self._processes.values():
            if process.heard is not None and now - process.heard > self._hang:
                _log.error("process %d hangs", process.number, extra={"silentSeconds": round(now - process.heard)})
                process.program.kill()
            else:
                process.say({"kind": "question", "id": None, "topic": PRESENT, "document": None})
        self._loop.call_later(HEARTBEAT_SECONDS, self._beat)

    def _died(self, process: Process, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        _log.error("process %d ended %s", process.number, how, extra={"connections": process.connections})
        self._answers.died(str(process.number))
        pause = self._deaths.next_start(time.monotonic())
        if pause is None:
            self._failure = WindlassError(
                f"{len(self._deaths)} serving processes ended within {DEATH_WINDOW_SECONDS:.0f} s, the last {how}; "
                "the log tells more, and after signal 9 the pod may need more memory",
                reason=PROCESS_DIED,
            )
            self._stop()
        else:
            self._loop.call_later(pause, self._start_again, process.number)

    def _start_again(self, number: int) -> None:
        if not self._stopping:
            self._keep(self._start(number))

    def _stop(self) -> None:
        """Tell the processes to end, go on handing over until they take no more, and wait for them."""
        if self._stopping:
            return
        self._stopping = True
        for process in self._processes.values():
            process.program.send_signal(signal.SIGTERM)
        self._loop.call_later(self._drain_delay, self._close_listener)
        self._loop.call_later(self._drain_delay + LINGER_SECONDS + DRAIN_SECONDS + KILL_SECONDS, self._kill)

    def _close_listener(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _kill(self) -> None:
        for process in self._processes.values():
            _log.error("process %d did not end in time", process.number)
            process.program.kill()

    # Connections

    def _accept_on(self) -> None:
        if self._listener.fileno() >= 0:  # not closed meanwhile
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # The client is gone already, or there are no descriptors left: others may be served all the same.
                _log.warning("a connection could not be accepted", extra={"error": str(error)})
                return
            if not self._hand_over(accepted):
                self._loop.remove_reader(self._listener.fileno())
                self._offer_again(accepted)
                return

    def _hand_over(self, accepted: socket.socket) -> bool:
        """Give a connection to the process with the fewest; False when none takes one."""
        for process in sorted(self._processes.values(), key=lambda process: (process.connections, process.given)):
            if process.take(accepted, self._handed):
                self._handed += 1
                accepted.close()
                return True
        return False

    def _offer_again(self, accepted: socket.socket) -> None:
        if self._hand_over(accepted):
            self._accept_on()
        elif self._stopping and not self._processes:
            accepted.close()
        else:
            self._loop.call_later(OFFER_AGAIN_SECONDS, self._offer_again, accepted)

    # Messages

    async def _listen(self, process: Process) -> None:
        frames = FrameReader()
        with suppress(ConnectionError):
            while piece := await process.reader.read(READ_BYTES):
                for frame in frames.feed(piece):
                    self._heard(process, frame)

    def _heard(self, process: Process, frame: Frame) -> None:
        process.heard = self._loop.time()
        if frame["kind"] == "closed":
            process.connections -= 1
        elif frame["kind"] == "ask":
            self._inquiries.ask(process, frame, self._processes.values())
        else:
            self._inquiries.answered(process, frame)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def supervise(
    command: Sequence[str],
    count: int,
    listener: socket.socket,
    *,
    drain_delay: float = DRAIN_DELAY_SECONDS,
    hang: float = HANG_SECONDS,
) -> int:
    """Serve with several processes until SIGTERM, then until they have ended.

    Args:
        command: starts a process that joins the crew (`crew.join`) and serves with it.
        count: of processes.
        listener: that connections are accepted from; closed at the end.
        drain_delay: seconds after SIGTERM in which connections are still accepted; the processes must have the same.
        hang: seconds without a word after which a process is killed, and started anew.

    Returns:
        The exit code of the pod: that of the first process that ended with another than 0, and has told why; else 0.

    Raises:
        WindlassError: processes died again and again.
    """
    with listener:
        return asyncio.run(Supervisor(command, count, listener, drain_delay=drain_delay, hang=hang).run())


def _exit_code(code: int) -> int:
    """As a shell tells it: an end by a signal has a code of its own."""
    return code if code >= 0 else 128 - code
