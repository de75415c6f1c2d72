"""A process's side of a pod: the connections that it is given, and questions to all processes of the pod.

    join      the crew that this process belongs to; a crew of one when it was started by itself
    ask       a question to all processes, this one among them
    busy      that more is asked of this process than it can do: it may then give connections back
    answer    what this process says when a question comes

Whatever changes the state of the service, or tells of all of it, asks the crew, so that it makes no difference which process
took the request. Knows no HTTP; `server.py` makes connections of the sockets.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from itertools import count
from typing import Any

from windlass_core.errors import Unavailable
from windlass_core.processes.answers import ALIVE, METRICS, PRESENT, READY, PodAnswers
from windlass_core.processes.frames import READ_BYTES, Frame, FrameReader, encode, pass_socket, passed_sockets, say_taken

# "<number> <descriptor for sockets> <descriptor for messages>", for a process that the supervisor starts.
WORKER_VARIABLE = "WINDLASS_WORKER"
# The others answer within a turn of their event loops; a turn is at most the run of a large batch.
ASK_SECONDS = 5.0
# A kubelet waits a second or more for the answer to its probe; what is known by then is told.
PROBE_SECONDS = 0.5
# For the word of the supervisor that no more connections come; it has said so long before, unless it is starved.
LAST_SECONDS = 5.0
# Sockets taken in one turn of the loop: a burst must not keep those that are served already.
TAKEN_AT_ONCE = 32

# Gives the answer to a question's document, now or later; both as JSON can hold them.
Answer = Callable[[Any], Any | Awaitable[Any]]
# Gives a connection back to the parent; False when it takes none now. The process closes its own end of it afterwards.
Give = Callable[[socket.socket], bool]

_log = logging.getLogger(__name__)


class Crew:
    """The crew of a process that serves alone. Used on one event loop."""

    number = 0

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {PRESENT: lambda _: True, READY: lambda _: None}
        self._pod = PodAnswers(1)

    def answer(self, topic: str, answer: Answer) -> None:
        """Answer questions on a topic from now on."""
        self._answers[topic] = answer

    async def ask(self, topic: str, document: Any = None, *, seconds: float = ASK_SECONDS) -> Any:
        """Ask all processes of the pod.

        Args:
            topic: that all have given an `answer` for.
            document: of the question, as JSON can hold it.
            seconds: after which those that have not answered are left out.

        Returns:
            The list of answers, in the order of the processes; for READY and METRICS the pod's one answer.
        """
        return self._pod.of(topic, {str(self.number): await asyncio.wait_for(self._own(topic, document), seconds)})

    def closed(self) -> None:
        """A connection is closed that the parent gave to this process; a process alone has no parent to tell."""

    def busy(self, refused: float) -> None:
        """More is asked of this process than it can do; others of the pod may have room, a process alone has none.

        Args:
            refused: the share of requests that it has refused lately.
        """

    def say_whether_ready(self) -> None:
        """Whether requests may come to this process has changed; a process alone has nobody to tell."""

    async def why_not_ready(self) -> str | None:
        """None when the pod can be sent requests, else a sentence."""
        try:
            reason: str | None = await self.ask(READY, seconds=PROBE_SECONDS)
        except TimeoutError:
            return "the processes of this pod do not answer one another"
        return reason

    async def why_not_alive(self) -> str | None:
        """None, or why one of the processes can only be helped by a restart.

        Those that do not answer are not counted: one may be starting, and one that ended is brought back anyhow.
        """
        try:
            answers = await self.ask(ALIVE, seconds=PROBE_SECONDS)
        except TimeoutError:
            answers = [await self._own(ALIVE, None)]
        return next(filter(None, answers), None)

    async def metrics(self) -> Any:
        """Snapshot of the metrics of all processes. Raises Unavailable when they do not answer one another."""
        try:
            return await self.ask(METRICS)
        except TimeoutError:
            raise Unavailable("the processes of this pod do not answer one another") from None

    async def _own(self, topic: str, document: Any) -> Any:
        found = self._answers[topic](document)
        return await found if isawaitable(found) else found


class WorkerCrew(Crew):
    """The crew of a process among several: speaks to the supervisor on two sockets."""

    def __init__(self, number: int, sockets: socket.socket, messages: socket.socket) -> None:
        super().__init__()
        self.number = number
        self._sockets = sockets
        self._messages = messages
        self._frames = FrameReader()
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None
        self._orphaned = False
        self._took_all = asyncio.Event()

    @property
    def orphaned(self) -> bool:
        """Whether the supervisor is gone: nobody will give connections any more, or bring this process back."""
        return self._orphaned

    async def begin(self, connected: Callable[[socket.socket], None], relieved: Callable[[Give], None]) -> None:
        """Take connections, and answer questions, from now on; on the event loop that is running.

        Args:
            connected: called with each connection.
            relieved: called some time after `busy` when others have room, with what takes connections back.
        """
        self._relieved = relieved
        reader, self._writer = await asyncio.open_unix_connection(sock=self._messages)
        self._keep(self._listen(reader))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sockets.fileno(), self._take, loop, connected)

    async def took_all(self) -> None:
        """Until the last connection that the supervisor gives has been taken; for a process that was told to stop."""
        if not self._orphaned:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._took_all.wait(), LAST_SECONDS)

    def end(self) -> None:
        """Take no connections any more."""
        asyncio.get_running_loop().remove_reader(self._sockets.fileno())

    def closed(self) -> None:
        """A connection that was given to this process is closed."""
        self._say({"kind": "closed"})

    def busy(self, refused: float) -> None:
        """More is asked of this process than it can do."""
        self._say({"kind": "busy", "refused": refused})

    def say_whether_ready(self) -> None:
        """Whether requests may come to this process has changed; the parent asks only now and then."""
        self._keep(self._reply({"id": None, "topic": READY, "document": None}))

    async def ask(self, topic: str, document: Any = None, *, seconds: float = ASK_SECONDS) -> Any:
        """As Crew."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self._say({"kind": "ask", "id": number, "topic": topic, "document": document, "seconds": seconds})
        try:
            # The supervisor answers after `seconds` with what it has; it is given a moment more for that.
            return await asyncio.wait_for(future, seconds + min(seconds, ASK_SECONDS))
        finally:
            del self._asked[number]

    def _take(self, loop: asyncio.AbstractEventLoop, connected: Callable[[socket.socket], None]) -> None:
        taken: list[socket.socket | None] = []
        try:
            for one in passed_sockets(self._sockets, TAKEN_AT_ONCE):
                taken.append(one)  # noqa: PERF402  # those before an error are to be kept
        except (EOFError, OSError):
            loop.remove_reader(self._sockets.fileno())
            self._took_all.set()
        # Before anything is read from them: what is not told as taken is given to another when this process dies.
        say_taken(self._sockets, len(taken))
        for one in taken:
            if one is None:
                _log.error("a connection was lost, because this process may have no more descriptors")
                self.closed()
            else:
                one.setblocking(False)
                connected(one)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while piece := await reader.read(READ_BYTES):
                for frame in self._frames.feed(piece):
                    if frame["kind"] == "question":
                        self._keep(self._reply(frame))
                    elif frame["kind"] == "give back":
                        self._relieved(partial(pass_socket, self._sockets))
                    elif (future := self._asked.get(frame["id"])) and not future.done():
                        future.set_result(frame["answer"])
        except ConnectionError:
            pass  # how the supervisor's death is told where it had not read all that was said to it
        finally:
            self._orphaned = True

    async def _reply(self, question: Frame) -> None:
        reply: Frame = {"kind": "answer", "id": question["id"]}
        try:
            reply["answer"] = await self._own(question["topic"], question["document"])
        except Exception:  # noqa: BLE001  # the answer may be anybody's code, and the one who asks must hear something
            # Left out of the answers, as if it had not answered: the one who asked sees that it is missing.
            _log.exception("a question of the pod could not be answered", extra={"topic": question["topic"]})
            reply["kind"] = "no answer"
        self._say(reply)

    def _say(self, frame: Frame) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(frame))

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def join(environment: MutableMapping[str, str] = os.environ) -> Crew:
    """The crew of this process; once a process, because it takes the sockets over."""
    given = environment.pop(WORKER_VARIABLE, None)
    if given is None:
        return Crew()
    number, sockets, messages = map(int, given.split())
    channels = [socket.socket(fileno=descriptor) for descriptor in (sockets, messages)]
    for channel in channels:
        channel.setblocking(False)
        channel.set_inheritable(False)
    return WorkerCrew(number, *channels)
