"""The parent of several serving processes: starts them, lets each have its share of connections, and replaces those that die.

Ends as its processes end: told to stop, it tells them, goes on handing over until they stop taking, and waits for them. A
process that ends with a final code (its configuration or data can never be served) ends the pod with it. One that dies is
started anew; a pod whose processes keep dying ends with the reason. One that is silent is given no connections until it answers
again, and ended when it does not.

Uses the standard library alone, so that it is small and quick to start. Knows no HTTP: what it hands over are sockets.
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Sequence

from windlass_core.errors import WindlassError
from windlass_core.listening import DRAIN_DELAY_SECONDS, DRAIN_SECONDS, LINGER_SECONDS
from windlass_core.processes.acceptor import Acceptor
from windlass_core.processes.answers import PodAnswers
from windlass_core.processes.deaths import QUIET_SECONDS, Deaths
from windlass_core.processes.frames import READ_BYTES, Frame, FrameReader
from windlass_core.processes.inquiries import Inquiries, is_ready
from windlass_core.processes.process import Process
from windlass_core.processes.pulse import HANG_SECONDS, HEARTBEAT_SECONDS

# Exit codes that say that trying again cannot help (see `windlass_core.errors`).
FINAL_CODES = frozenset(range(40, 44))
# Processes that were told to stop end by themselves; one that has not after this, beyond the time that it may take, is killed.
KILL_SECONDS = 3.0
PROCESS_DIED = "ProcessDied"

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
        self._code = 0
        self._failure: WindlassError | None = None
        self._stopping = False
        self._starting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Until all processes have ended; see `supervise`."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for stop in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(stop, self._stop)
        self._acceptor = Acceptor(self._listener, self._processes)
        for number in range(self._count):
            await self._start(number)
        self._beat()
        await self._ended.wait()
        if self._failure:
            raise self._failure
        return self._code

    # Processes

    async def _start(self, number: int) -> None:
        self._starting += 1
        try:
            process = await Process.start(number, self._command, self._given_back)
        except OSError as error:
            _log.error("process %d could not be started", number, extra={"error": str(error)})
            self._died(number, f"because it could not be started: {error.strerror}")
            return
        finally:
            self._starting -= 1
        self._processes[number] = process
        self._loop.add_reader(process.pidfd, self._end, process)
        self._keep(self._listen(process))
        _log.info("process %d started", number, extra={"pid": process.program.pid})
        if self._stopping:
            process.program.send_signal(signal.SIGTERM)
        self._acceptor.started(process)

    def _end(self, process: Process) -> None:
        """A process has ended."""
        self._loop.remove_reader(process.pidfd)
        code = process.end()
        del self._processes[process.number]
        self._inquiries.ended(process)
        self._acceptor.hand_on(process.untaken)
        if self._stopping:
            self._code = self._code or _exit_code(code)
        elif code in FINAL_CODES:
            self._code = code
            self._stop()
        else:
            how = process.fault or (f"by signal {-code}" if code < 0 else f"with code {code}")
            _log.error("process %d ended %s", process.number, how, extra={"connections": process.connections})
            self._died(process.number, how)
        self._end_when_all_have()

    def _end_when_all_have(self) -> None:
        if self._stopping and not self._processes and not self._starting:
            self._ended.set()

    def _beat(self) -> None:
        """Ask all processes whether they are there, and end those that have not said a word for too long."""
        for process in self._processes.values():
            pulse = process.pulse
            if pulse.hangs(self._hang):
                if not process.fault:
                    _log.error("process %d hangs and is ended", process.number, extra={"silentSeconds": pulse.silent_seconds})
                    process.kill(f"because it hung for {pulse.silent_seconds:.0f} s")
                continue
            answered = pulse.answers
            process.ask_for_pulse()
            if answered and not pulse.answers:
                _log.warning("process %d is silent and gets no connections until it answers", process.number)
        self._loop.call_later(HEARTBEAT_SECONDS, self._beat)

    def _died(self, number: int, how: str) -> None:
        """A process has ended that should not, or could not be started."""
        self._answers.died(str(number))
        pause = self._deaths.next_start(time.monotonic())
        if pause is None:
            self._failure = WindlassError(
                f"{len(self._deaths)} serving processes ended, none later than {QUIET_SECONDS:.0f} s after the one before, "
                f"the last {how}; the log tells more, and after signal 9 the pod may need more memory",
                reason=PROCESS_DIED,
            )
            self._stop()
        else:
            self._loop.call_later(pause, self._start_again, number)

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
        self._end_when_all_have()
        self._loop.call_later(self._drain_delay, self._acceptor.close)
        self._loop.call_later(self._drain_delay + LINGER_SECONDS + DRAIN_SECONDS + KILL_SECONDS, self._kill)

    def _kill(self) -> None:
        for process in self._processes.values():
            _log.error("process %d did not end in time", process.number)
            process.kill("because it did not end in time")

    # Messages

    async def _listen(self, process: Process) -> None:
        frames = FrameReader()
        try:
            while piece := await process.reader.read(READ_BYTES):
                for frame in frames.feed(piece):
                    self._heard(process, frame)
        except ConnectionError:
            return  # it has ended, which its pidfd tells
        except ValueError as error:
            _log.error("process %d says what cannot be understood", process.number, extra={"error": str(error)})
            process.kill("because it said what cannot be understood")

    def _heard(self, process: Process, frame: Frame) -> None:
        if self._processes.get(process.number) is not process:
            return  # said before it ended, and what it counted then is counted already
        if not process.pulse.answers:
            process.pulse.heard()
            self._acceptor.resume()
        process.pulse.heard()
        if frame["kind"] == "closed":
            process.connections -= 1
        elif frame["kind"] == "busy":
            self._acceptor.relieve(process, frame["refused"])
        elif frame["kind"] == "ask":
            self._inquiries.ask(process, frame, self._processes.values())
        elif frame["id"] is None:
            process.ready = is_ready(frame)
        else:
            self._inquiries.answered(process, frame)

    def _given_back(self, connections: Sequence[socket.socket]) -> None:
        self._answers.moved(len(connections))
        self._acceptor.hand_on(connections)

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
