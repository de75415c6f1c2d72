"""What the event loop itself still has to do before a request that is read now is answered.

In one turn the loop reads all requests that have come, then computes or hands over, then answers. A small model is served as
fast as the loop reads and answers, so under overload the wait is there and not in the engine's queue: for those that came in
the same turn and are not read yet, for bodies that wait to be read, and for the answers of those that wait before it. All are
counted here, at what they have taken lately. (For how long a request has waited to be read, see `windlass_core.waiting`.)

Used on the event loop. Knows no request, no queue and no engine.
"""

import time
from collections.abc import Callable

from windlass_core.lasting import Lasting

# Weight of the newest turn: the last ten count, so that the figures follow a neighbour on the same core within a moment.
NEWEST = 0.1
# When more is asked than can be done, waiting for as long as deadlines allow would answer no more, and keep waiting who is
# refused in the end: each waits only for a share of its time. Of 0.125, 0.25 and 0.5 tried at 1.2 times capacity with 50 ms,
# the first had a tenth fewer answered, because a core is idle whenever so little has been done, and the last no more.
OVERLOADED_SHARE = 0.25
# Turns are not alike, an answer still has its way to the client, and short turns keep few requests waiting: so much longer than
# the turn before is allowed for. Of 1, 1.5, 2 and 3 tried at 1.2 times capacity with 50 ms, 3 had the most answered in time.
MARGIN = 3.0


class Turns:
    """Reads and answers of one event loop.

    Args:
        at_end: has a function called when the loop has read what there is, before it reads again: `loop.call_soon`.
        clock: seconds, steady.
    """

    def __init__(self, at_end: Callable[[Callable[[], None]], object], clock: Callable[[], float] = time.perf_counter) -> None:
        self._at_end = at_end
        self._clock = clock
        self.number = 0  # of the turn, to tell one from the next
        self.overloaded = False  # when it began: more was asked than can be done
        self._began = 0.0
        self._read = 0
        self._read_before = 0  # in the turn before
        self._bodies = 0  # that wait to be read
        self._reading_seconds = 0.0  # of one request, whether it is taken in or refused; without bodies that wait
        self._body_seconds = 0.0  # of one that has waited
        self._answering_seconds = 0.0  # of one request
        self._lasting = Lasting()
        self.refused = self._lasting.refused  # because this loop has too much to do

    def read(self, now: float) -> None:
        """Count a request of which the head was read, in seconds of the clock."""
        if not self._read:
            self._began = now
            self.overloaded = self._lasting.overloaded(now)
            self._at_end(self._end)
        self._read += 1

    def lasted(self, now: float) -> float:
        """Seconds since the first head of this turn was read; 0 before it."""
        return now - self._began if self._read else 0.0

    def body_waits(self) -> None:
        """Count a request that was let in, and the body of which is to be read later."""
        self._bodies += 1

    def bodies_read(self, bodies: int, seconds: float) -> None:
        """Learn from so many bodies that had waited, read one after the other."""
        self._bodies -= bodies
        self._body_seconds += NEWEST * (seconds / bodies - self._body_seconds)

    def answered(self, requests: int, seconds: float) -> None:
        """Learn from so many answers, given one after the other."""
        if requests:
            self._answering_seconds += NEWEST * (seconds / requests - self._answering_seconds)

    def seconds_ahead(self, waiting: int) -> float:
        """What the loop does before it answers a request that is read now.

        Turns are taken to be MARGIN times as long as the one before. Nothing is counted for the request's own answer: one that
        nothing waits before is always left to the engine's own judgement, so that what answers take is learned anew.

        Args:
            waiting: requests that are answered before, beside those the bodies of which wait here.
        """
        unread = max(self._read_before - self._read, 0)
        bodies = self._bodies * self._body_seconds
        return MARGIN * (unread * self._reading_seconds + bodies + (self._bodies + waiting) * self._answering_seconds)

    def patience(self, left: float, now: float) -> float:
        """How much of the seconds that a request has left it may wait for this loop."""
        return OVERLOADED_SHARE * left if self._lasting.overloaded(now) else left

    def time_needed(self, seconds: float, now: float) -> float:
        """How much time a request must have left to wait for so many seconds: `patience` the other way round."""
        return seconds / OVERLOADED_SHARE if self._lasting.overloaded(now) else seconds

    def _end(self) -> None:
        seconds = (self._clock() - self._began) / self._read
        self._reading_seconds += NEWEST * (seconds - self._reading_seconds)
        self._read_before, self._read = self._read, 0
        self.number += 1
