"""One serving process as its parent has it: the program, and the two sockets to speak to it."""

import asyncio
import logging
import math
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from windlass_core.processes.answers import READY
from windlass_core.processes.crew import WORKER_VARIABLE
from windlass_core.processes.frames import UNTAKEN_AT_MOST, Frame, encode, pass_socket, said_of_sockets
from windlass_core.processes.pulse import Pulse

_log = logging.getLogger(__name__)
# After it has last said that more is asked of it than it can do, which it says again and again, it is taken to be so no more.
BUSY_SECONDS = 0.5

# Gives others the connections that a process has given back.
GiveOthers = Callable[[Sequence[socket.socket]], None]


@dataclass
class Process:
    """A process that is running.

    Attributes:
        number: from 0; a process that takes the place of one that died has its number.
        pidfd: readable when the process has ended.
        connections: that it was given and has not told as closed.
        untaken: our sockets of those that it was given and has not told as taken, in order.
        pulse: whether its event loop turns.
        ready: it has said that requests may come; one that takes the place of another first loads what it serves.
        fault: why its parent has ended it; empty when it ended by itself.
        given: number of the last connection that it was given: among equals the one that has waited longest is next.
        busy_at: when it last said that more is asked of it than it can do, in seconds of the event loop.
        refused: the share of requests that it had refused then.
    """

    number: int
    program: subprocess.Popen[bytes]
    pidfd: int
    sockets: socket.socket
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    give_others: GiveOthers
    connections: int = 0
    untaken: deque[socket.socket] = field(default_factory=deque)
    given: int = 0
    busy_at: float = -math.inf
    refused: float = 0.0
    pulse: Pulse = field(default_factory=Pulse)
    ready: bool = False
    fault: str = ""

    @classmethod
    async def start(cls, number: int, command: Sequence[str], give_others: GiveOthers) -> Self:
        """Start the program, with its ends of the sockets. Raises OSError when the system has no room for it."""
        ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        descriptors = [end.fileno() for end in theirs]
        environment = os.environ | {WORKER_VARIABLE: " ".join(map(str, (number, *descriptors)))}
        # Starting takes a millisecond and is waited for: asyncio's own way needs a thread for each process.
        try:
            program = subprocess.Popen(command, env=environment, pass_fds=descriptors)  # noqa: ASYNC220
        except OSError:
            for end in ours:
                end.close()
            raise
        finally:
            for end in theirs:
                end.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours[1])
        process = cls(number, program, os.pidfd_open(program.pid), ours[0], reader, writer, give_others)
        asyncio.get_running_loop().add_reader(ours[0].fileno(), process._hear)
        return process

    def give(self, accepted: socket.socket, handed: int) -> bool:
        """Give it a connection, the so-manieth; False when it takes none now. The socket is closed when it has taken it."""
        if len(self.untaken) == UNTAKEN_AT_MOST or not pass_socket(self.sockets, accepted):
            return False
        self.untaken.append(accepted)
        self.connections += 1
        self.given = handed
        return True

    @property
    def refuses(self) -> float:
        """The share of requests that it refuses, because more is asked of it than it can do."""
        return self.refused if asyncio.get_running_loop().time() - self.busy_at < BUSY_SECONDS else 0.0

    def take_no_more(self) -> None:
        """Tell it, behind the connections that it was given, that there will be no others."""
        with suppress(OSError):  # it is gone
            self.sockets.shutdown(socket.SHUT_WR)

    def ask_for_pulse(self) -> None:
        """Ask it whether it is there, and ready."""
        self.pulse.asked()
        self.say({"kind": "question", "id": None, "topic": READY, "document": None})

    def kill(self, fault: str) -> None:
        """End it, for a reason."""
        self.fault = fault
        self.program.kill()

    def say(self, frame: Frame) -> None:
        """Send it a message, unless it is gone."""
        if not self.writer.is_closing():
            self.writer.write(encode(frame))

    def end(self) -> int:
        """Give back what is held for a process that has ended, but for what it has not taken.

        Returns:
            Its exit code, negative for a signal.
        """
        self._hear()  # what it has said in its last moment
        asyncio.get_running_loop().remove_reader(self.sockets.fileno())
        os.close(self.pidfd)
        self.sockets.close()
        self.writer.close()
        return self.program.wait()

    def _hear(self) -> None:
        said = said_of_sockets(self.sockets)
        for _ in range(said.taken):
            self.untaken.popleft().close()
        if said.lost:
            _log.error("%d connections were lost, because the parent may have no more descriptors", said.lost)
        if said.given_back:
            self.give_others(said.given_back)
        if said.ended:
            asyncio.get_running_loop().remove_reader(self.sockets.fileno())
