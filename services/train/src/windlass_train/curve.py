"""Points of a run's figures over time: thinned, held until a part is due, and written to the run's folder.

Only the leader of a group writes. A part ends at each checkpoint (see runs.py); in between, what there is of it is written
every FLUSH_SECONDS, so that a run can be watched.
"""

import logging
import time
from datetime import UTC, datetime

from windlass_core.errors import Unavailable
from windlass_train.pace import Agreed
from windlass_train.runs import MetricPoint, RunFolder

FLUSH_SECONDS = 10.0
# A curve of more points than this shows no more on any screen; longer runs give one point for several updates.
TRAIN_POINTS = 1000

log = logging.getLogger(__name__)


class Curve:
    """The points of one run, as far as this try of it has come."""

    def __init__(self, folder: RunFolder, *, steps: int, steps_per_epoch: int, start: int) -> None:
        self._folder = folder
        self._steps_per_epoch = steps_per_epoch
        self._spacing = max(1, steps // TRAIN_POINTS)
        self._part: list[MetricPoint] = []
        self._last_step = start
        self._flushed = time.monotonic()
        folder.drop_points_after(start)

    def train(self, step: int, agreed: Agreed) -> None:
        """Note the loss on the training split, if the last point is far enough back."""
        if step - self._last_step < self._spacing:
            return
        self._last_step = step
        self._add(step, "train", loss=agreed.loss, samples_per_second=agreed.samples_per_second)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush_if_possible()

    def validation(self, step: int, *, loss: float, accuracy: float | None) -> None:
        """Note the figures on the validation split."""
        self._add(step, "validation", loss=loss, accuracy=accuracy)

    def end_part(self) -> None:
        """Write what there is and begin a new part; called before a checkpoint of the same step is committed."""
        self._flush()
        self._part = []

    def _add(self, step: int, split: str, **figures: float | None) -> None:
        epoch = round(step / self._steps_per_epoch, 4)
        fields = {"step": step, "epoch": epoch, "split": split, "at": datetime.now(UTC), **figures}
        self._part.append(MetricPoint.model_validate(fields))

    def _flush_if_possible(self) -> None:
        """A store that is away keeps a run from being watched, not from going on: the points stay here until the next time."""
        try:
            self._flush()
        except Unavailable as error:
            log.warning("the run's figures are not written for now", extra={"detail": error.message})
            self._flushed = time.monotonic()

    def _flush(self) -> None:
        if self._part:
            self._folder.write_points(self._part)
        self._flushed = time.monotonic()
