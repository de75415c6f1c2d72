"""Whether a batch is held for a moment, until those whom the batch before has answered have asked again.

Programs send their next request when they have the answer to their last. A batch that is taken at once has only those that came
while the one before it ran: half of the callers are computed while the other half is answered, for ever, and batches are half
as large as they could be. What larger ones save depends on the model, and on what reading and answering takes from the engine's
core. That is not known beforehand, so it is tried where most callers come at once after an answer: one stretch of batches the
one way and the next the other, compared by seconds a row from the end of one batch to that of the next. As soon as most no
longer come at once nothing is held, for who comes at times of his own would only wait.

Knows no clock, no queue and no engine.
"""

import math
from collections import deque
from collections.abc import Collection

# Batches that are compared: both stretches together are short against the time in which a machine changes its speed.
STRETCH = 8
# The other way is tried again after so many batches at first, twice as many whenever it was found worse, and at most so many.
FIRST_TRIAL, LAST_TRIAL = STRETCH, 128
# So many must come within the time for which a batch would be held. Of callers who come at times of their own a quarter does,
# as many as in any other such time. The newest share weighs so much: two batches held for nobody are the last, one is not.
BACK_SHARE, NEWEST_BACK = 0.5, 0.3
# Weight of the newest comparison; holding must be cheaper by more than what chance makes of two stretches.
NEWEST, LEAD = 0.5, math.log(1.03)


class Holding:
    """Of one lane; `holds` is the way that its next batch goes."""

    def __init__(self) -> None:
        self.holds = False
        self._better = False  # whether holding is, as far as is known
        self._gain = 0.0  # logarithm of how much cheaper rows of held batches are
        self._stretch: deque[tuple[int, float]] = deque(maxlen=STRETCH)  # rows and seconds, of the better way
        self._trial: list[tuple[int, float]] = []  # of the other, while it is tried
        self._apart = self._until_trial = FIRST_TRIAL
        self._back = 0.0  # share of callers who come at once after an answer

    def came_back(self, share: float) -> None:
        """Learn which share of callers came at once: of those who came while a batch ran, or of those for whom one was held."""
        self._back += NEWEST_BACK * (share - self._back)
        if self.holds and self._back <= BACK_SHARE:
            if self._better:
                self._stretch.clear()  # is of held batches
            self._settle(better=False)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch: the seconds since the end of the one before it."""
        if self.holds is self._better:
            self._stretch.append((rows, seconds))
            self._until_trial -= 1
            if self._until_trial <= 0 and self._back > BACK_SHARE:
                self.holds = not self._better
            return
        self._trial.append((rows, seconds))
        if len(self._trial) == STRETCH:
            self._compare()

    def _compare(self) -> None:
        gain = math.log(_seconds_a_row(self._stretch) / _seconds_a_row(self._trial))
        self._gain += NEWEST * ((gain if self.holds else -gain) - self._gain)
        better = self._gain > LEAD
        if better is not self._better:
            self._stretch.extend(self._trial)
        self._settle(better=better)

    def _settle(self, *, better: bool) -> None:
        """After a trial: go the better way, and try the other later."""
        self._apart = FIRST_TRIAL if better is not self._better else min(2 * self._apart, LAST_TRIAL)
        self.holds = self._better = better
        self._until_trial = self._apart
        self._trial.clear()


def _seconds_a_row(batches: Collection[tuple[int, float]]) -> float:
    return math.fsum(seconds for _, seconds in batches) / sum(rows for rows, _ in batches)
