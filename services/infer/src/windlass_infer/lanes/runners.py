"""What runs batches: the event loop itself, or a thread beside it.

    InlineRunner   for engines that take microseconds: the requests that one turn of the event loop has read are its batch. No
                   thread is woken and none waits for Python's lock, which costs a small model more than its computing
    EngineThread   for all others: takes the next batch when one has ended, or soon after; answers each by one call of the loop

Both take what their scheduler decides. A runner is used on the event loop; only `_work` runs on the thread, and what both touch
is touched under the lock.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Protocol

from windlass_infer.lanes.computing import Call, Computed, Computer
from windlass_infer.lanes.load import Load
from windlass_infer.lanes.turns import Turns
from windlass_infer.lanes.unread import Unread
from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.queue import Priority, Taken, Work
from windlass_infer.scheduling.scheduler import Refusal, Scheduler, SchedulerLane, Turn

# A run that takes so many times what 95 % of such runs take, and at least so long, hangs: what runs on a shared node may be
# slowed by ten, and a page of a large model may have to be read again, but not longer.
HANGING_RATIO = 20.0
HANGING_SECONDS = 30.0


class EngineLane(SchedulerLane[Call]):
    """A lane with its engine, and who is told of each batch."""

    def __init__(
        self,
        computer: Computer,
        costs: CostModel,
        max_batch_rows: int,
        answer: Callable[["EngineLane", Taken[Call], Computed | None, float], None],
    ) -> None:
        super().__init__(costs, max_batch_rows)
        self.computer = computer
        # Lane, what was taken, what became of it (None when all of it was late), and when it was taken; on the event loop.
        self.answer = answer


class Runner(Protocol):
    """Runs the batches of its lanes."""

    def add(self, lane: EngineLane) -> None:
        """Take over a lane that is idle."""

    def remove(self, lane: EngineLane) -> None:
        """Give up a lane that is idle."""

    def idle(self, lane: EngineLane) -> bool:
        """Whether nothing of this lane waits or runs."""

    def queue(self, lane: EngineLane, work: Work[Call]) -> None:
        """Queue a request; its batch is answered through the lane."""

    def discard(self, lane: EngineLane, work: Work[Call]) -> None:
        """Take a request out of the queue, if no batch has taken all of it."""

    def refusal(self, lane: EngineLane, rows: int, deadline: float, now: float, priority: Priority) -> Refusal | None:
        """Why a request would not be in time, or None."""

    def backlog_seconds(self, now: float) -> float:
        """Until all that runs and waits here is computed."""


class InlineRunner:
    """Runs one batch a turn of the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scheduler: Scheduler[Call] = Scheduler()
        self._called = False
        self.add = self._scheduler.add
        self.remove = self._scheduler.remove
        self.refusal = self._scheduler.refusal
        self.backlog_seconds = self._scheduler.backlog_seconds

    def idle(self, lane: EngineLane) -> bool:
        """Whether nothing of this lane waits; nothing runs whenever somebody can ask."""
        return not lane.queue

    def queue(self, lane: EngineLane, work: Work[Call]) -> None:
        """Queue a request for the end of this turn of the loop."""
        work.probe = self._scheduler.idle
        self._scheduler.queue(lane, work)
        self._call()

    def discard(self, lane: EngineLane, work: Work[Call]) -> None:
        """Take a request out of the queue."""
        lane.queue.discard(work)

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._called = False
        now = time.perf_counter()
        turn = self._scheduler.next(now)
        if turn is None:
            return
        lane, taken = _engine_lane(turn)
        computed = _compute(lane, taken)
        if computed:
            _learn(lane, taken, computed)
        self._scheduler.finished()
        if not self._scheduler.idle:
            self._call()
        lane.answer(lane, taken, computed, now)


class EngineThread:
    """Runs batches on one thread, one after another; `close` ends it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scheduler: Scheduler[Call] = Scheduler()
        self._changed = Condition()
        self._asleep = False
        self._wakes_at = math.inf  # by itself, while it is asleep
        self._closed = False
        self._running: tuple[float, float] | None = None  # since when, and what its lane's margin allows
        self._thread = Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def add(self, lane: EngineLane) -> None:
        """Take over a lane that is idle."""
        with self._changed:
            self._scheduler.add(lane)

    def remove(self, lane: EngineLane) -> None:
        """Give up a lane that is idle."""
        with self._changed:
            self._scheduler.remove(lane)

    def idle(self, lane: EngineLane) -> bool:
        """Whether nothing of this lane waits or runs."""
        with self._changed:
            return not lane.queue and not self._scheduler.running(lane)

    def queue(self, lane: EngineLane, work: Work[Call]) -> None:
        """Queue a request, and wake the thread if it sleeps."""
        with self._changed:
            work.probe = self._scheduler.idle
            self._scheduler.queue(lane, work)
            if self._asleep and self._scheduler.held_until(work.arrived) < self._wakes_at:
                self._asleep = False
                self._changed.notify()

    def discard(self, lane: EngineLane, work: Work[Call]) -> None:
        """Take a request out of the queue; what a batch has taken of it is computed."""
        with self._changed:
            lane.queue.discard(work)

    def refusal(self, lane: EngineLane, rows: int, deadline: float, now: float, priority: Priority) -> Refusal | None:
        """Why a request would not be in time, or None."""
        with self._changed:
            return self._scheduler.refusal(lane, rows, deadline, now, priority)

    def backlog_seconds(self, now: float) -> float:
        """Until all that runs and waits here is computed."""
        with self._changed:
            return self._scheduler.backlog_seconds(now)

    def hanging_seconds(self, now: float) -> float:
        """How long the batch that runs now has run, when that is so long that it will not end; else 0."""
        running = self._running
        if running is None:
            return 0.0
        since, allowed = running
        seconds = now - since
        return seconds if seconds > max(HANGING_SECONDS, HANGING_RATIO * allowed) else 0.0

    async def close(self) -> None:
        """Run what waits, then end the thread. Call it after the lanes are closed."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while turn := self._next():
            lane, taken = _engine_lane(turn)
            started = time.perf_counter()
            self._running = started, lane.costs.seconds(taken.rows)
            computed = _compute(lane, taken)
            self._running = None
            with self._changed:
                if computed:
                    _learn(lane, taken, computed)
                self._scheduler.finished()
                if computed:
                    self._scheduler.hold(lane, taken, time.perf_counter())
            self._loop.call_soon_threadsafe(lane.answer, lane, taken, computed, started)

    def _next(self) -> Turn[Call] | None:
        """What to run next; waits for it. None at the end."""
        with self._changed:
            while True:
                now = time.perf_counter()
                held_until = now if self._closed else self._scheduler.held_until(now)
                turn = None if held_until > now else self._scheduler.next(now)
                self._asleep = turn is None and not self._closed
                if not self._asleep:
                    return turn
                self._wakes_at = held_until if held_until > now else math.inf
                self._changed.wait(None if self._wakes_at == math.inf else held_until - now)


@dataclass(slots=True)
class Runners:
    """What a process computes with; its lanes share them."""

    inline: InlineRunner
    thread: EngineThread
    load: Load
    turns: Turns
    unread: Unread

    @classmethod
    def start(cls) -> "Runners":
        """New ones, on the running event loop."""
        at_end = asyncio.get_running_loop().call_soon
        turns = Turns(at_end)
        return cls(InlineRunner(), EngineThread(), Load(time.perf_counter()), turns, Unread(at_end, turns))

    def backlog_seconds(self, now: float) -> float:
        """Until all that runs and waits is computed."""
        return max(self.inline.backlog_seconds(now), self.thread.backlog_seconds(now))


def _engine_lane(turn: Turn[Call]) -> tuple[EngineLane, Taken[Call]]:
    assert isinstance(turn.lane, EngineLane)  # noqa: S101  # runners take no others
    return turn.lane, turn.taken


def _compute(lane: EngineLane, taken: Taken[Call]) -> Computed | None:
    """Run a batch without those for whom nobody waits; None when nothing is left of it."""
    wanted = [not piece.work.item.unwanted for piece in taken.pieces]  # asked once: it may change meanwhile
    if not all(wanted):
        taken.unwanted = [piece.work for piece, kept in zip(taken.pieces, wanted, strict=True) if not kept]
        taken.pieces = [piece for piece, kept in zip(taken.pieces, wanted, strict=True) if kept]
        taken.rows = sum(piece.rows for piece in taken.pieces)
    return lane.computer.compute(taken.pieces, taken.rows) if taken.pieces else None


def _learn(lane: EngineLane, taken: Taken[Call], computed: Computed) -> None:
    """A failed batch ran several times; what it took says nothing of the next."""
    if not computed.failures:
        lane.costs.observe(taken.rows, computed.seconds)
