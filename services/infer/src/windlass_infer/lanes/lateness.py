"""What callers are told whose answers would not be in time, or are not any more, or have left. Knows no queue and no clock."""

from typing import NamedTuple

from windlass_core.errors import Unavailable
from windlass_infer.errors import DeadlineExceeded, Overloaded
from windlass_infer.scheduling.scheduler import LEAST_RETRY_SECONDS


class TooLate(NamedTuple):
    """Why a request is not taken in, in figures.

    `seconds` until it would be answered, `needed_seconds` that it would have to have for that, and `retry_after` whole seconds
    until one like it probably would be in time.
    """

    seconds: float
    needed_seconds: float
    retry_after: int

    def said(self, left: float) -> Overloaded:
        """In a sentence, to one that has `left` seconds."""
        takes, given, again = f"{self.seconds:.3g} s", f"{left:.3g} s", f"try again in {self.retry_after} s"
        if self.seconds > left:
            sentence = f"the answer would take {takes}, but must be there in {given}; {again}"
        else:
            sentence = f"more is asked here than can be done: the answer would wait {takes} of the {given} that it has; {again}"
        return Overloaded(sentence, retry_after=self.retry_after)


def said_of_late(waited: float, *, own_deadline: bool) -> DeadlineExceeded | Overloaded:
    """To one that was taken in and has become too late.

    Args:
        waited: seconds in the queue.
        own_deadline: the caller named the time; else the server is what has too little.
    """
    sentence = f"after {waited:.3g} s in the queue it can no longer be answered in time"
    if own_deadline:
        return DeadlineExceeded(f"{sentence}; allow more time, or send it again when less is asked for")
    return Overloaded(f"{sentence}; try again in {LEAST_RETRY_SECONDS} s", retry_after=LEAST_RETRY_SECONDS)


def said_to_nobody() -> Unavailable:
    """Of one whose caller has left: heard by counters and traces alone."""
    return Unavailable("nobody waits for this answer any more")
