"""Whose turn it is among lanes that share one engine thread, and whether a request that comes now can be answered in time.

Lanes share the engine by the time they are predicted to take, not by requests: each has a clock of its own that advances by
what its batches take, and the lane whose clock is furthest behind goes next (start-time fair queueing; Goyal, Vin and Cheng,
1996). Batch work waits until no lane has an interactive request. Admission answers by the same figures: what is ahead, at the
pace that the lanes leave one another, against the deadline. A batch may be held for those who were just answered (`holding`).

Knows no clock, no thread and no engine.
"""

import math
from dataclasses import dataclass
from typing import Generic

from windlass_core.lasting import Lasting
from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.holding import Holding
from windlass_infer.scheduling.queue import Item, LaneQueue, Priority, Taken, Work

# What is asked to wait is not asked to come back sooner; clients count in whole seconds.
LEAST_RETRY_SECONDS = 1
# When more is asked than can be done, a request waits for so much of its time: half as long as it could, with as many answered,
# and hardly any of those that were taken in too late in the end. But rows of one good batch wait however long it takes.
OVERLOADED_SHARE, WORTHWHILE_RATE = 0.5, 0.9
# A batch is held for so much of what it takes. Callers on the same machine come back in half of it; if they do not, nobody has
# waited for long.
HELD_SHARE = 0.125
# Nobody is sent away for longer: by then the figures are others.
MOST_RETRY_SECONDS = 60


class SchedulerLane(Generic[Item]):
    """One lane: its queue, its costs, and how much of the engine it has had."""

    def __init__(self, costs: CostModel, max_batch_rows: int) -> None:
        self.costs = costs
        self.queue: LaneQueue[Item] = LaneQueue(costs, max_batch_rows)
        self.clock = 0.0  # seconds of the engine, as predicted, since the scheduler began
        self.holding = Holding()
        self.lasting = Lasting()
        self.refused = self.lasting.refused  # because the engine has too much to do


@dataclass(frozen=True, slots=True)
class Turn(Generic[Item]):
    """What happens next: `taken` of `lane`; its pieces are empty when all that waited there is late."""

    lane: SchedulerLane[Item]
    taken: Taken[Item]


@dataclass(frozen=True, slots=True)
class _Held(Generic[Item]):
    """The next batch of a lane, for which `waiting` rows wait already, until it has `rows`, or until a time."""

    lane: SchedulerLane[Item]
    waiting: int
    rows: int
    until: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not queued, in figures for a sentence.

    `seconds` until it would be answered, `retry_after` whole seconds until one like it probably would be in time.
    """

    seconds: float
    retry_after: int


class Scheduler(Generic[Item]):
    """The lanes of one engine thread, which computes one batch at a time."""

    def __init__(self) -> None:
        self._lanes: list[SchedulerLane[Item]] = []
        self._clock = 0.0
        self._running: SchedulerLane[Item] | None = None
        self._running_until = 0.0
        self._taken_at = self._free_since = 0.0  # the batch that runs; the engine
        self._followed: SchedulerLane[Item] | None = None  # whose next batch may be held, or tells what holding would save
        self._held: _Held[Item] | None = None

    def add(self, lane: SchedulerLane[Item]) -> None:
        """Take a lane in, with nothing in its queue."""
        lane.clock = self._clock
        self._lanes.append(lane)

    def remove(self, lane: SchedulerLane[Item]) -> None:
        """Forget a lane, whose queue is empty."""
        self._lanes.remove(lane)
        if self._held and self._held.lane is lane:
            self._held = None

    def running(self, lane: SchedulerLane[Item]) -> bool:
        """Whether a batch of this lane runs now."""
        return self._running is lane

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        if self._running is not None:
            return False
        for lane in self._lanes:  # noqa: SIM110  # asked for every request, and `any` takes three times as long
            if lane.queue.rows:
                return False
        return True

    def queue(self, lane: SchedulerLane[Item], work: Work[Item]) -> None:
        """Queue a request."""
        if not lane.queue.rows:
            # A lane that slept does not come back with a claim to all the time that it did not use.
            lane.clock = max(lane.clock, self._clock)
        lane.queue.add(work)

    def next(self, now: float) -> Turn[Item] | None:
        """The next batch, of the lane whose turn it is; None when nothing waits. `finished` must follow when it has pieces."""
        waiting = [lane for lane in self._lanes if lane.queue]
        if not waiting:
            return None
        lane = min(waiting, key=lambda lane: (not lane.queue.interactive(now), lane.clock))
        taken = lane.queue.take(now)
        if taken.pieces:
            seconds = lane.costs.expected(taken.rows)
            self._clock = max(self._clock, lane.clock)
            lane.clock += seconds
            self._held = None
            self._running, self._running_until = lane, now + seconds
            self._taken_at = now
        return Turn(lane, taken)

    def finished(self) -> None:
        """The batch that ran has ended; the caller has told the lane's costs what it took."""
        self._running = None

    def hold(self, lane: SchedulerLane[Item], taken: Taken[Item], now: float) -> None:
        """Hold the next batch for those whom this one, which has just ended, has answered; where that has paid.

        For who can wait, instead of asking for the next batch at once.
        """
        began, self._free_since = self._free_since, now
        waiting = lane.queue.rows
        rows = min(waiting + taken.rows, lane.queue.max_batch_rows)
        seconds = HELD_SHARE * lane.costs.expected(rows)
        if lane is self._followed:
            # A pause in which nobody asked anything says nothing of the one way or the other.
            lane.holding.observe(taken.rows, now - max(began, self._taken_at - seconds))
            if not lane.holding.holds and (came := lane.queue.rows_arrived(began, now)):
                lane.holding.came_back(lane.queue.rows_arrived(began, began + seconds) / came)
        # Alone a caller is computed at once, whichever way.
        self._followed = lane if rows > max(waiting, 1) else None
        if self._followed and lane.holding.holds and not lane.lasting.overloaded(now):
            self._held = _Held(lane, waiting, rows, now + seconds)

    def held_until(self, now: float) -> float:
        """When the next batch may be taken; not later than now: at once.

        It is held until all are back, somebody else waits, or the first would be late.
        """
        held = self._held
        if held is None:
            return now
        lane, queue = held.lane, held.lane.queue
        if any(other.queue for other in self._lanes if other is not lane):
            return now
        if queue.rows >= held.rows or now >= held.until:
            self._held = None
            lane.holding.came_back(max(queue.rows - held.waiting, 0) / (held.rows - held.waiting))
            return now
        return min(held.until, queue.first_deadline - lane.costs.seconds(held.rows))

    def backlog_seconds(self, now: float) -> float:
        """Until all that runs and waits is computed."""
        return self._running_seconds(now) + sum(lane.queue.seconds for lane in self._lanes)

    def refusal(
        self, lane: SchedulerLane[Item], rows: int, deadline: float, now: float, priority: Priority = Priority.INTERACTIVE
    ) -> Refusal | None:
        """None when a request of so many rows would be answered by `deadline`, or when nothing else is there to do.

        With an idle engine even a request that will probably be late is worth its run: nobody else waits, and without runs
        nobody would ever learn that they have become faster again. When refusals go on, it is not enough to be in time: a
        request waits for a share of its time only, or for one batch that is worth its run.
        """
        if deadline == math.inf or (deadline > now and self.idle):
            return None
        queue = lane.queue
        most = now + OVERLOADED_SHARE * (deadline - now) if lane.lasting.overloaded(now) else deadline
        # Nearly all are in time even if all that waits is due before them, which is known without a look at each.
        if now + self._seconds(lane, queue.rows + rows, now) <= most:
            return None
        due = queue.due(Work(None, rows, now, deadline, priority))  # type: ignore[arg-type]  # never queued
        finish = now + self._seconds(lane, queue.rows_before(due) + rows, now)
        if finish <= most or (
            finish <= deadline and lane.costs.rate(queue.rows) < WORTHWHILE_RATE * lane.costs.rate(queue.max_batch_rows)
        ):
            return None
        wait = math.ceil(min(max(finish - deadline, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS))
        return Refusal(seconds=finish - now, retry_after=wait)

    def _seconds(self, lane: SchedulerLane[Item], rows: int, now: float) -> float:
        """Until so many rows of a lane are done: what runs, they themselves, and what other lanes take meanwhile."""
        most = lane.queue.max_batch_rows
        if rows > most:
            # With so many waiting, the last batch will be a full one: what comes after it fills it up.
            rows = math.ceil(rows / most) * most
        own = lane.costs.seconds_in_batches(rows, most)
        seconds = self._running_seconds(now) + own
        for other in self._lanes:
            if other is not lane and other.queue:
                seconds += min(other.queue.seconds, own)
        return seconds

    def _running_seconds(self, now: float) -> float:
        return max(self._running_until - now, 0.0) if self._running else 0.0
