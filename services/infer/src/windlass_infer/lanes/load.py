"""How much is asked of this process, as a share of what it can do: the figure to scale by.

Counted is what is offered, also what is refused, so that it is seen past saturation; each row weighs what it takes in full
batches (a + b / N), so the figure means the same for every model, and falls by itself when a version is made faster. A small
model's engine may be idle while the event loop in front of it is not, so the busier of the two counts.

Knows no clock: the caller gives `now` in seconds.
"""

import math

# Load of about the last so many seconds: two scrapes of an autoscaler's metrics, so that it sees every burst once.
WINDOW_SECONDS = 15.0
# Before this age there is no figure: a pod that has just begun would look idle, and pull down the average over pods.
LEAST_AGE_SECONDS = 5.0
# In less it loses less than a thousandth, and requests come many in a millisecond.
LEAST_DECAY_SECONDS = 0.01


class Share:
    """Seconds of work in a second, weighing what is longer ago less."""

    def __init__(self, now: float) -> None:
        self._born = self._at = now
        self._seconds = 0.0

    def add(self, seconds: float, now: float) -> None:
        """Count work."""
        self._decay(now)
        self._seconds += seconds

    def value(self, now: float) -> float | None:
        """The share; None while it is too early to say."""
        if now - self._born < LEAST_AGE_SECONDS:
            return None
        self._decay(now)
        # What came before the beginning is not known, so it does not count as nothing either.
        return self._seconds / (WINDOW_SECONDS * (1 - math.exp((self._born - now) / WINDOW_SECONDS)))

    def _decay(self, now: float) -> None:
        if now - self._at > LEAST_DECAY_SECONDS:
            self._seconds *= math.exp((self._at - now) / WINDOW_SECONDS)
            self._at = now


class Load:
    """The load of one process, with one slot for computing."""

    def __init__(self, now: float) -> None:
        self._engine = Share(now)
        self._loop = Share(now)

    def offer(self, rows: int, seconds_per_row: float, seconds_per_batch: float, max_batch_rows: int, now: float) -> None:
        """Count a request, whether it is taken in or refused."""
        self._engine.add(rows * (seconds_per_row + seconds_per_batch / max_batch_rows), now)

    def loop_worked(self, seconds: float, now: float) -> None:
        """Count what the event loop's thread has computed since it was last counted."""
        self._loop.add(seconds, now)

    def ratio(self, now: float) -> float | None:
        """Offered load over capacity; 1 is all that can be done. None in the first seconds."""
        engine, loop = self._engine.value(now), self._loop.value(now)
        return None if engine is None or loop is None else max(engine, loop)
