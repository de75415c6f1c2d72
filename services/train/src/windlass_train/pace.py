"""What the members of a group agree on every so often: the loss, the speed, and whether to stop.

Agreeing costs a message to all, so it is done about every AGREE_SECONDS, counted in updates so that all do it at the same one.
Knows no model: it adds up figures.
"""

import time
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from windlass_train.group import Group

# Long against a message to all (0.2 ms on a loopback, a few ms between nodes), short against what a person watches.
AGREE_SECONDS = 0.25
# A slow first update (compilation, cold caches) must not be followed by a thousand unwatched fast ones.
MOST_UPDATES_BETWEEN = 200
# The loss that is shown is a mean over about so many updates: one batch's loss jumps too much to be read.
LOSS_UPDATES = 50


@dataclass(frozen=True)
class Agreed:
    """What all members know alike.

    Attributes:
        loss: mean over the rows of the last updates.
        samples_per_second: rows of all members together.
        stop: whether any member was asked to stop.
    """

    loss: float
    samples_per_second: float
    stop: bool


@dataclass(frozen=True)
class _Window:
    loss_sum: float
    rows: float
    updates: int


class Pace:
    """Collects figures between two agreements."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._windows: deque[_Window] = deque()
        self._between = 1
        self._loss_sum: Tensor = torch.zeros((), device=group.device)
        self._rows = 0
        self._updates = 0
        self._started = time.perf_counter()

    @property
    def due(self) -> bool:
        """Whether it is time to agree; the same on all members."""
        return self._updates >= self._between

    def start_clock(self) -> None:
        """Leave what was done since the last agreement, other than updates, out of the speed."""
        self._started = time.perf_counter()

    def add(self, *, loss_sum: Tensor, rows: int) -> None:
        """Count one update: the sum of the losses of this member's rows, and their number."""
        # Added up where it was computed: reading it now would make the host wait for the device at each update.
        self._loss_sum = self._loss_sum + loss_sum.detach()
        self._rows += rows
        self._updates += 1

    def agree(self, *, stop: bool) -> Agreed:
        """Exchange figures with all members; every member must call this after the same update."""
        loss_sum = float(self._loss_sum)  # waits for the device, so the seconds are those of finished work
        seconds = time.perf_counter() - self._started
        totals = self._group.sum([loss_sum, self._rows, seconds, float(stop)])
        mean_seconds = max(totals[2] / self._group.world_size, 1e-9)
        self._remember(_Window(totals[0], totals[1], self._updates))
        wanted = round(AGREE_SECONDS * self._updates / mean_seconds)
        self._between = max(1, min(MOST_UPDATES_BETWEEN, wanted))
        self._start_window()
        loss = sum(window.loss_sum for window in self._windows) / sum(window.rows for window in self._windows)
        return Agreed(loss=loss, samples_per_second=totals[1] / mean_seconds, stop=totals[3] > 0)

    def _start_window(self) -> None:
        self._loss_sum = torch.zeros((), device=self._group.device)
        self._rows = 0
        self._updates = 0
        self.start_clock()

    def _remember(self, window: _Window) -> None:
        self._windows.append(window)
        while sum(held.updates for held in self._windows) - self._windows[0].updates >= LOSS_UPDATES:
            self._windows.popleft()
