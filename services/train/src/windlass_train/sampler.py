"""Which rows each update learns from: a fixed function of seed, position and world size, so that a run can resume anywhere.

The order of an epoch depends on (seed, epoch) alone. An update takes the next `batch_size` rows of it, whatever the number of
workers; workers then share these rows out. So the same updates happen with one worker and with many, and a checkpoint of one
world size continues in another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
        epoch: passes over the training split that are done.
        consumed: rows of the current pass that updates have learned from.
        step: updates done.
    """

    epoch: int = 0
    consumed: int = 0
    step: int = 0


class Sampler:
    """The batches of a run over `rows` rows."""

    def __init__(self, *, rows: int, batch_size: int, seed: int) -> None:
        if rows < 1 or batch_size < 1:
            raise ValueError(f"rows and batch_size must be at least 1, not {rows} and {batch_size}")
        self.rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._epoch: int | None = None
        self._order: Indices = np.empty(0, dtype=np.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass; the last may have fewer rows."""
        return -(-self.rows // self._batch_size)

    def batch(self, position: Position) -> Indices:
        """Rows of the update after `position`, of all workers together: int64 [at most batch_size]."""
        if self._epoch != position.epoch:
            self._order = np.random.default_rng([self._seed, position.epoch]).permutation(self.rows)
            self._epoch = position.epoch
        return self._order[position.consumed : position.consumed + self._batch_size]

    def after(self, position: Position) -> Position:
        """Where the run stands after the update that follows `position`."""
        consumed = min(position.consumed + self._batch_size, self.rows)
        if consumed == self.rows:
            return Position(epoch=position.epoch + 1, consumed=0, step=position.step + 1)
        return Position(epoch=position.epoch, consumed=consumed, step=position.step + 1)


def share(rows: Indices, *, rank: int, world_size: int) -> Indices:
    """The part of `rows` that belongs to one worker; the parts differ by one row at most, and may be empty."""
    return rows[rank::world_size]
