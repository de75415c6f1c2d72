"""The parent's part in connections: accept them, give each to the process that has the fewest, and keep it until it is taken.

A process that is not ready, because it still loads what it serves in the place of one that died, gets none while another is.

A process that is asked for more than it can do may give some back, for others that refuse none, or far fewer.

A socket on its way to a process is lost with it unless somebody else has it too. So the parent closes its own only when the
process says that it has taken it, which it does before it reads from it; what a process that died had not taken goes to
another, and its client notices nothing. While no process takes any, connections wait where the kernel keeps them.

Knows no HTTP, and starts and ends no processes.
"""

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

from windlass_core.processes.process import Process

# Connections taken in one turn of the loop.
ACCEPTED_AT_ONCE = 64
# When no process takes a connection now, it is offered again after this.
OFFER_AGAIN_SECONDS = 0.01
# When the system has no descriptors or memory for another connection, it is asked again after this.
ACCEPT_AGAIN_SECONDS = 0.5
# Of its share of all connections a process that gives some back keeps so many.
KEPT_SHARE = 0.5
# It gives some to one that refuses less than this share of what it refuses itself: processes whose cores are taken by others
# drown in requests that they can only refuse, while their siblings answer most.
FEWER = 0.5
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger(__name__)


class Acceptor:
    """Of one listening socket, which it closes at the end. Used on one event loop."""

    def __init__(self, listener: socket.socket, processes: Mapping[int, Process]) -> None:
        """Accepts nothing before `resume`.

        Args:
            listener: that connections are accepted from.
            processes: those that there are, by number, at any time.
        """
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._listener.setblocking(False)
        self._processes = processes
        # Accepted, and no process takes them now; while there are such, no others are accepted.
        self._waiting: deque[socket.socket] = deque()
        self._handed = 0
        self._closing = False
        self._ended = False

    def resume(self) -> None:
        """Accept, now that there is a process that answers."""
        if not self._waiting and not self._closing:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def started(self, process: Process) -> None:
        """A process has been started."""
        if self._ended:
            process.take_no_more()

    def hand_on(self, connections: Iterable[socket.socket]) -> None:
        """Give others what a process has given back, or had not taken when it ended.

        Nobody is left to take it when all were told to end.
        """
        if self._ended:
            for connection in connections:
                connection.close()
        else:
            left = [one for one in connections if not self._give(one, to_idle=True)]
            if left:
                self._keep(left)

    def relieve(self, busy: Process, refused: float) -> None:
        """Let a process that is asked for more than it can do give connections back, if another refuses none, or far fewer.

        It keeps half of its share: connections stay where they are when the overload is over, and requests without deadlines,
        which nobody refuses, are to have their share of the cores then.

        Args:
            busy: the process.
            refused: the share of requests that it has refused lately.
        """
        busy.busy_at, busy.refused = self._loop.time(), refused
        processes = self._processes.values()
        share = sum(process.connections for process in processes) / len(processes)
        if busy.connections > KEPT_SHARE * share and any(
            process.pulse.answers and process.ready and process.refuses < FEWER * refused for process in processes
        ):
            busy.say({"kind": "give back"})

    def close(self) -> None:
        """Hand over what the kernel has accepted already, which closing would cut, and tell all that it was the last."""
        self._pause()
        self._closing = True
        last: list[socket.socket] = []
        with suppress(OSError):
            while True:
                last.append(self._listener.accept()[0])
        self._listener.close()
        self._keep(last)

    def _pause(self) -> None:
        if not self._closing:
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        if not any(process.pulse.answers for process in self._processes.values()):
            self._pause()  # until the first word of one of them
            return
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # The client is gone already: others may be served all the same.
                _log.warning("a connection could not be accepted", extra={"error": str(error)})
                if error.errno in _NO_ROOM:
                    self._pause()
                    self._loop.call_later(ACCEPT_AGAIN_SECONDS, self.resume)
                return
            if not self._give(accepted):
                self._keep([accepted])
                return

    def _give(self, accepted: socket.socket, *, to_idle: bool = False) -> bool:
        """Give a connection to the process with the fewest, if it can to one that is ready; False when none takes one.

        Args:
            accepted: the connection.
            to_idle: to the one that refuses least, if it can; a new connection is not, because where it goes it stays.
        """
        for process in sorted(
            self._processes.values(),
            key=lambda one: (not one.pulse.answers, not one.ready, to_idle and one.refuses, one.connections, one.given),
        ):
            if process.give(accepted, self._handed):
                self._handed += 1
                return True
        return False

    def _keep(self, accepted: Iterable[socket.socket]) -> None:
        """Offer these until they are taken."""
        offering = bool(self._waiting)
        self._waiting.extend(accepted)
        if not offering:
            self._pause()
            self._offer()

    def _offer(self) -> None:
        while self._waiting and self._give(self._waiting[0]):
            self._waiting.popleft()
        if self._waiting:
            self._loop.call_later(OFFER_AGAIN_SECONDS, self._offer)
        elif self._closing:
            self._ended = True
            for process in self._processes.values():
                process.take_no_more()
        else:
            self.resume()
