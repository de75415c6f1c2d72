"""What a lane has decided in this turn of the event loop by the heads of requests, so that the next few alike cost nothing.

Under overload a decision is made for every request, and a look at all that waits costs as much as the rest of a refusal. In a
moment hardly anything changes: who has no more time than one that was refused is refused, and who has no less than one that was
let in is let in. Knows no queue.
"""

import math
from functools import cache

from windlass_infer.errors import Overloaded

# Requests to which a decision applies, beyond the one for which it was made, and what those that are let in by it may take.
ALIKE, ALIKE_SECONDS = 15, 0.001


class Decided:
    """The last decisions, good for a few requests of the turn in which they were made."""

    def __init__(self) -> None:
        self._turn = -1
        self._left = 0
        self._refused_until = -math.inf
        self._refused = _too_busy(0)
        self._let_in_from = math.inf
        self.refused_alike = 0  # refusals that were found here since somebody last set this to 0

    def refusal(self, turn: int, deadline: float) -> Overloaded | None:
        """What a request is told that has no more time than one that was refused just now; None when it has."""
        if turn != self._turn or deadline > self._refused_until or not self._left:
            return None
        self._left -= 1
        self.refused_alike += 1
        return self._refused

    def lets_in(self, turn: int, deadline: float) -> bool:
        """Whether a request has no less time than one that was let in just now."""
        if turn != self._turn or deadline < self._let_in_from or not self._left:
            return False
        self._left -= 1
        return True

    def refuse(self, turn: int, until: float, retry_after: int) -> Overloaded:
        """Remember that requests with deadlines up to `until` are refused; what they are told."""
        self._begin(turn)
        self._refused_until, self._refused = until, _too_busy(retry_after)
        self._let_in_from = max(self._let_in_from, until)
        return self._refused

    def let_in(self, turn: int, deadline: float, row_seconds: float) -> None:
        """Remember that one row, which takes so long, was let in before its body was read."""
        self._begin(turn)
        self._left = min(ALIKE, int(ALIKE_SECONDS / max(row_seconds, ALIKE_SECONDS / ALIKE)))
        self._let_in_from = deadline
        self._refused_until = min(self._refused_until, math.nextafter(deadline, -math.inf))

    def _begin(self, turn: int) -> None:
        self._left = ALIKE
        if turn != self._turn:
            self._turn, self._refused_until, self._let_in_from = turn, -math.inf, math.inf


@cache
def _too_busy(retry_after: int) -> Overloaded:
    """One for all: figures of each would take as long as the rest of a refusal."""
    sentence = f"what waits here takes longer than this answer may; try again in {retry_after} s"
    return Overloaded(sentence, retry_after=retry_after)
