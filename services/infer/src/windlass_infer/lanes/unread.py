"""Requests that were let in by their heads, while their bodies wait to be read.

To read a body takes several times what its head does. When more is asked than can be done heads go first, because they decide:
who is refused is told within one short turn of the event loop, however much there is to be read. Bodies follow in the order in
which they came, a slice in each turn, and what a slice has read is the next batch of an engine on the loop. At all other times
each is read at once, because the more one turn has read, the larger its batch and the less a request costs. What a turn reads
is bounded then too where requests have deadlines: in a crowd that comes at once may be some who are to be refused.

Used on the event loop. Knows no request and no engine.
"""

import time
from collections import deque
from collections.abc import Callable

from windlass_infer.lanes.turns import Turns

# Bodies are read for so long in one turn. Of 0.25, 0.5 and 1 ms tried at 1.2 times the capacity of a tiny network, half of the
# refusals were told within 2, 3 and 5 ms; with the shortest a tenth fewer requests were answered.
SLICE_SECONDS = 0.0005
# Without overload for so long, at once and in a slice: two or three dozen bodies of a tiny network, to which the fixed cost of
# a turn is little; 128 that come at once cost a twelfth more than in one turn. Until it was bounded, turns of 20 ms came before
# an overload was seen to be one, and its refusals came as late.
LONG_SLICE_SECONDS = 0.001


class Unread:
    """What waits to be read, of one event loop.

    Args:
        at_end: has a function called when the loop has read what there is, before it reads again: `loop.call_soon`.
        turns: of the same loop; say whether it is overloaded, and are told what waits here.
        clock: seconds, steady.
    """

    def __init__(
        self, at_end: Callable[[Callable[[], None]], object], turns: Turns, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._at_end = at_end
        self._turns = turns
        self._clock = clock
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, read: Callable[[], None], *, judged: bool) -> None:
        """Have a body read: now, or when those before it are.

        Args:
            read: reads it.
            judged: the request has a deadline, by which it was let in; as may have others behind it, which may be refused.
        """
        if not self._waiting:
            if not self._turns.overloaded and (not judged or self._turns.lasted(self._clock()) < LONG_SLICE_SECONDS):
                read()
                return
            self._at_end(self._read_slice)
        self._waiting.append(read)
        self._turns.body_waits()

    def _read_slice(self) -> None:
        began = now = self._clock()
        until = began + (SLICE_SECONDS if self._turns.overloaded else LONG_SLICE_SECONDS)
        count = 0
        try:
            while self._waiting and now < until:
                count += 1
                self._waiting.popleft()()
                now = self._clock()
        finally:
            self._turns.bodies_read(count, now - began)
            if self._waiting:
                self._at_end(self._read_slice)
