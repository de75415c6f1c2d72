"""Whether more is asked than can be done, or only a burst has come: by when requests were refused.

A queue that dissolves is a burst, and waiting in it is worth it. One that stays is only delay: it answers no more, and all of
them later (CoDel; Nichols and Jacobson, 2012). Knows no clock: the caller gives `now` in seconds.
"""

import math

# Refusals that go on for so long are no burst.
BURST_SECONDS = 0.1
# Without a refusal for so long, it is over; with another one sooner than this it is the same again, and no new burst.
OVER_SECONDS, FORGET_SECONDS = 0.25, 1.0


class Lasting:
    """Of one thing that requests wait for."""

    def __init__(self, forget_seconds: float = FORGET_SECONDS) -> None:
        """With nothing refused so far.

        Args:
            forget_seconds: without a refusal, after which the next one may again be a burst's.
        """
        self._forget_seconds = forget_seconds
        self._since = self._last = -math.inf

    def refused(self, now: float) -> None:
        """A request was refused."""
        if now - self._last >= self._forget_seconds:
            self._since = now
        self._last = now

    def overloaded(self, now: float) -> bool:
        """Whether requests have been refused for longer than a burst lasts, and still are."""
        return now - self._last < OVER_SECONDS and now - self._since > BURST_SECONDS
