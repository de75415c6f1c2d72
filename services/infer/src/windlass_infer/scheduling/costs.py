"""What a batch will take: seconds = a * rows + b, fitted while batches run, with the margin that covers 95 % of them.

    fit       least squares over recent batches, older ones weighing less; an outlier counts as at most OUTLIER times expected
    margin    the ratio that 95 % of the batches stay below, tracked step by step (Robbins and Monro, 1951)
    change    when every one of the last CHANGE_BATCHES was off to the same side, all before them is forgotten

Knows no clock and no queue.
"""

import math
from collections import deque
from statistics import median

# Weight of a batch against the one after it: about the last fifty count, so a fit follows a pod whose neighbours come and go.
DECAY = 0.98
# Longer than this multiple of what was expected is a pause of the machine, not a cost of the rows; the margin covers it.
OUTLIER = 4.0
# Spread of batch sizes, in rows squared, below which they say nothing about the slope; the slope then stays what it was.
RIDGE = 0.25
# Share of batches that the margin covers, its step, and its bounds. Below the share most callers would be promised too much;
# above the upper bound the machine is too unsteady to promise anything, and refusing more would not help.
COVERED = 0.95
MARGIN_STEP = 0.02
MARGIN_BOUNDS = (1.0, 3.0)
# So many batches in a row beyond this ratio are a change of the machine, not noise: at 5 % noise it does not happen by chance.
CHANGE_BATCHES = 8
CHANGE_RATIO = 1.4
# No batch is faster than a call of a function; keeps predictions and rates finite.
FLOOR_SECONDS = 1e-6
# More rows than any batch has: what fits into time without end.
MANY_ROWS = 1 << 30


class CostModel:
    """The fit of one lane.

    Args:
        seconds_per_row: a, as far as it is known beforehand.
        seconds_per_batch: b, likewise.
    """

    def __init__(self, seconds_per_row: float, seconds_per_batch: float) -> None:
        self.seconds_per_row = max(seconds_per_row, 0.0)
        self.seconds_per_batch = max(seconds_per_batch, FLOOR_SECONDS)
        self.margin = 1.1
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=CHANGE_BATCHES)  # rows, seconds, ratio to the expected
        self._forget()

    def expected(self, rows: int) -> float:
        """Seconds of one batch, on average."""
        return self.seconds_per_row * rows + self.seconds_per_batch

    def seconds(self, rows: int) -> float:
        """Seconds that one batch stays below, 19 times of 20."""
        return self.margin * self.expected(rows)

    def seconds_in_batches(self, rows: int, max_batch_rows: int) -> float:
        """Seconds of `rows` rows in as few batches as possible. Their margins even out, so only one batch's is added."""
        if rows <= max_batch_rows:
            return self.seconds(rows) if rows > 0 else 0.0
        batches = -(-rows // max_batch_rows)
        whole = self.seconds_per_row * rows + self.seconds_per_batch * batches
        return whole + (self.margin - 1) * self.expected(max_batch_rows)

    def rows_within(self, seconds: float) -> int:
        """The most rows of which one batch stays within `seconds`; 0 when not even one does."""
        left = seconds / self.margin - self.seconds_per_batch
        if left <= 0:
            return 0
        if left == math.inf or left >= self.seconds_per_row * MANY_ROWS:
            return MANY_ROWS
        return int(left / self.seconds_per_row + 1e-9)

    def rate(self, rows: int) -> float:
        """Rows a second in batches of `rows`."""
        return rows / self.expected(rows)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        expected = self.expected(rows)
        ratio = max(seconds, FLOOR_SECONDS) / expected
        self._recent.append((rows, seconds, ratio))
        if self._changed():
            self._begin_again()
            return
        step = COVERED if ratio > self.margin else COVERED - 1
        self.margin = min(max(self.margin + MARGIN_STEP * step, MARGIN_BOUNDS[0]), MARGIN_BOUNDS[1])
        self._add(rows, min(seconds, OUTLIER * expected))
        self._fit()

    def _changed(self) -> bool:
        if len(self._recent) < CHANGE_BATCHES:
            return False
        ratios = [ratio for _, _, ratio in self._recent]
        return min(ratios) > CHANGE_RATIO or max(ratios) < 1 / CHANGE_RATIO

    def _begin_again(self) -> None:
        """Scale the fit by the change, then refine it by the batches that showed it."""
        change = median(ratio for _, _, ratio in self._recent)
        self.seconds_per_row *= change
        self.seconds_per_batch = max(self.seconds_per_batch * change, FLOOR_SECONDS)
        self._forget()
        for rows, seconds, _ in self._recent:
            self._add(rows, seconds)
        self._fit()
        self._recent.clear()

    def _forget(self) -> None:
        self._weight = self._rows = self._rows_squared = self._seconds = self._rows_seconds = 0.0

    def _add(self, rows: int, seconds: float) -> None:
        self._weight = self._weight * DECAY + 1
        self._rows = self._rows * DECAY + rows
        self._rows_squared = self._rows_squared * DECAY + rows * rows
        self._seconds = self._seconds * DECAY + seconds
        self._rows_seconds = self._rows_seconds * DECAY + rows * seconds

    def _fit(self) -> None:
        mean_rows, mean_seconds = self._rows / self._weight, self._seconds / self._weight
        spread = max(self._rows_squared / self._weight - mean_rows * mean_rows, 0.0)
        together = self._rows_seconds / self._weight - mean_rows * mean_seconds
        slope = (together + RIDGE * self.seconds_per_row) / (spread + RIDGE)
        # Neither part of a cost is negative: noise that says so is put on the other part.
        slope = min(max(slope, 0.0), mean_seconds / mean_rows)
        self.seconds_per_row = slope
        self.seconds_per_batch = max(mean_seconds - slope * mean_rows, FLOOR_SECONDS)
