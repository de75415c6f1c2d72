"""Which connections leave a process that is asked for more than it can do, while others of its pod have room.

A refusal is quick, and a client's pool sends the next request where the last answer came from: so the process that refuses is
asked more and more, and the others idle. Connections cannot be asked to spread, but they can be moved: one on which a request
was just refused, and nothing is under way, goes back to the parent, which gives it to the process that refuses least.

Used on the event loop. Knows no HTTP and no sockets.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from windlass_core.lasting import OVER_SECONDS, Lasting
from windlass_core.processes.crew import Crew, Give

# How often the parent is asked whether others have room. Refusals come in crowds: by the share of 0.05 s two processes that
# refuse alike seemed to refuse unlike, and moved connections to and fro.
ASK_SECONDS = 0.2
# Of those that were refused since it was last asked, so many leave at once: what they bring is seen before more follow.
LEAVING_SHARE = 0.25
# A move costs parent and processes a third of a millisecond together, and who has just asked on that connection waits two turns
# of a busy loop more: with 32 in each 0.05 s, 150 to 200 connections a second moved.
LEAVING_AT_MOST = 8


class Leaving(Protocol):
    """A connection that may leave."""

    def leave(self, give: Give) -> bool:
        """Give its socket away and be closed here; False when something is under way on it, or it is closed."""


class Relief:
    """Of one event loop."""

    def __init__(self, crew: Crew, answered: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """Of a process of this crew.

        Args:
            crew: the parent of which is asked.
            answered: counts all requests that were answered or refused since the process began.
            clock: seconds, steady.
        """
        self._crew = crew
        self._answered = answered
        self._answered_before = self._refused_since = 0  # until, and after, the parent was asked last
        self._clock = clock
        # A move is dear: after a quiet moment it must be seen anew that there is no burst.
        self._lasting = Lasting(forget_seconds=OVER_SECONDS)
        self._asked = -math.inf
        self._number = 0  # refused since connections left last
        self._refused: deque[Leaving] = deque(maxlen=LEAVING_AT_MOST)

    def refused(self, connection: Leaving) -> None:
        """A request on this connection was refused, because more is asked than this process can do."""
        now = self._clock()
        self._lasting.refused(now)
        self._number += 1
        self._refused_since += 1
        self._refused.append(connection)
        if now - self._asked >= ASK_SECONDS and self._lasting.overloaded(now):
            self._asked = now
            answered = self._answered()
            self._crew.busy(self._refused_since / max(answered - self._answered_before, self._refused_since))
            self._answered_before, self._refused_since = answered, 0

    def give(self, give: Give) -> None:
        """Others have room: let those leave that were refused last, because they are asked first again."""
        leaving = min(math.ceil(LEAVING_SHARE * self._number), LEAVING_AT_MOST)
        while leaving and self._refused:
            leaving -= self._refused.pop().leave(give)
        self._refused.clear()
        self._number = 0
