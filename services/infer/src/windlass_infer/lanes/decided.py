"""What a lane has decided in this turn of the event loop by the heads of requests, so that the next one alike costs nothing.

Under overload a refusal must cost a fraction of an answer; a look at all that waits is a good part of it. Knows no queue.
"""

import math
from functools import cache

from windlass_infer.errors import Overloaded


class Decided:
    """The last refusal and the last admission, each good for the turn in which it was decided."""

    def __init__(self) -> None:
        self._refused: tuple[int, float, Overloaded | None] = -1, -math.inf, None
        self._admitted = -1, math.inf
        self.refused_alike = 0  # refusals that were found here since somebody last set this to 0

    def refuse(self, turn: int, answered: float, retry_after: int) -> Overloaded:
        """Remember a refusal, for all that are read in this turn and have no time beyond `answered`; what they are told."""
        refused = _too_busy(retry_after)
        self._refused = turn, answered, refused
        return refused

    def refusal(self, turn: int, deadline: float) -> Overloaded | None:
        """What a request is told that has no more time than one that was refused in this turn; None when it has."""
        refused_turn, answered, refused = self._refused
        if refused_turn != turn or deadline > answered:
            return None
        self.refused_alike += 1
        return refused

    def admit(self, turn: int, deadline: float) -> None:
        """Remember that one row was let in before its body was read."""
        self._admitted = turn, deadline

    def admitted(self, turn: int, deadline: float | None) -> bool:
        """Whether that was the last one let in: its body is read now, and it is not judged again."""
        return self._admitted == (turn, deadline)


@cache
def _too_busy(retry_after: int) -> Overloaded:
    """One for all: figures of each would take as long as the rest of a refusal."""
    sentence = f"what waits here takes longer than this answer may; try again in {retry_after} s"
    return Overloaded(sentence, retry_after=retry_after)
