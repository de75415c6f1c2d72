"""The queue of one loaded version: takes questions in or refuses them, and answers each exactly once.

Where the program leaves a size to the request (the length of a text), only requests of one size fit into one batch: each size
is a bucket with its own queue and its own fit. A bucket runs on the event loop while its batches take microseconds, on the
engine thread otherwise; it changes sides when it is idle.

Used on the event loop. Knows no protocol.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from functools import partial

from windlass_core.errors import Unavailable
from windlass_infer.engine import Arrays, Engine
from windlass_infer.errors import Overloaded
from windlass_infer.lanes.computing import Call, Computed, Computer, Done, Outcome, whole
from windlass_infer.lanes.decided import Decided
from windlass_infer.lanes.lateness import TooLate, said_of_late, said_to_nobody
from windlass_infer.lanes.placing import Bucket
from windlass_infer.lanes.runners import EngineLane, Runners
from windlass_infer.lanes.terms import WHENEVER, Terms
from windlass_infer.metrics import BatchStatistics, Measurements
from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.queue import INTERACTIVE, MAX_BATCH_ROWS, Priority, Taken, Work
from windlass_infer.scheduling.scheduler import LEAST_RETRY_SECONDS

# Rows that may wait before new ones are refused: 32 full batches. An early 429, after which another pod can answer, is better
# than a long queue.
MAX_WAITING_ROWS = 4096
# Sizes that a version keeps apart. Beyond it the bucket that was used longest ago is forgotten, if it is idle.
MAX_BUCKETS = 64

Shape = tuple[tuple[int, ...], ...]

log = logging.getLogger(__name__)


class Ticket:
    """A request that was taken in; `cancel` when nobody waits for it any more."""

    __slots__ = ("_bucket", "_lane", "_work")

    def __init__(self, lane: "Lane", bucket: Bucket, work: Work[Call]) -> None:
        self._lane = lane
        self._bucket = bucket
        self._work = work

    def cancel(self) -> None:
        """Take the request out of the queue, if it still waits. `done` is not called any more."""
        self._lane._cancel(self._bucket, self._work)


class Lane:
    """The queue in front of one engine.

    Args:
        engine: closed by `close`.
        costs: what is known of its batches beforehand, for the sizes of the example.
        runners: shared with the other lanes of the process.
        measurements: where what happens is counted.
        max_batch_rows: rows of the largest batch.
        max_waiting_rows: rows that may wait or run before more are refused.
    """

    def __init__(
        self,
        engine: Engine,
        costs: CostModel,
        runners: Runners,
        measurements: Measurements,
        *,
        max_batch_rows: int = MAX_BATCH_ROWS,
        max_waiting_rows: int = MAX_WAITING_ROWS,
    ) -> None:
        self._computer = Computer(engine)
        self._costs = costs
        self._runners = runners
        self._measurements = measurements
        self._max_batch_rows = max_batch_rows
        self._max_waiting_rows = max_waiting_rows
        self._sized = [tensor.name for tensor in engine.signature.inputs if -1 in tensor.shape[1:]]
        self._buckets: dict[Shape, Bucket] = {}
        self._main = self._new_bucket((), costs)
        self._closing = self._closed = False
        self._unread = 0  # requests that were let in, and are not read yet
        self._decided = Decided()
        self._progressed = asyncio.Event()  # a batch has ended, or a request has left

    @property
    def costs(self) -> CostModel:
        """The fit of the bucket that was used last."""
        return self._main.lane.costs

    def refuse_early(self, deadline: float | None, now: float) -> None:
        """Refuse a request of which only the head has come, when not even one row of it would be in time.

        Raises:
            Overloaded: as `submit` does.
            Unavailable: the version is being let go.
        """
        self._runners.turns.read(now)
        if refusal := self._refusal_by_head(deadline, now):
            raise refusal

    def refused_alike(self, latest: float, now: float) -> Overloaded | None:
        """What a request is told whose deadline is `latest` or before, when others with more time were refused just now."""
        turns = self._runners.turns
        if (refused := self._decided.refusal(turns.number, latest)) is not None:
            turns.read(now)
            self._measurements.shed["deadline"] += 1
        return refused

    def early_refusal(self, deadline: float | None, now: float) -> Overloaded | Unavailable | None:
        """`refuse_early` for those who must lose no time with it: one error for many, not to be raised, and without figures.

        Who is let in may say so in the terms of what is submitted.
        """
        if refused := None if deadline is None else self.refused_alike(deadline, now):
            return refused
        turns = self._runners.turns
        turns.read(now)
        if self._full or self._closed:
            return self._refusal_by_head(deadline, now)
        if deadline is None:
            return None
        if self._decided.lets_in(turns.number, deadline):
            return None
        found = self._not_in_time(self._main, 1, deadline, INTERACTIVE, now)
        if found is None:
            self._decided.let_in(turns.number, deadline, self._main.lane.costs.seconds_per_row)
            return None
        self._offer(self._main, 1, now)
        return self._decided.refuse(turns.number, max(now + found.needed_seconds, deadline), found.retry_after)

    def take(self, read: Callable[[], None], terms: Terms) -> None:
        """Have `read` called, which submits a request that was let in by its head: now, or after those that came before it."""
        self._unread += 1
        self._runners.unread.take(partial(self._read, read), judged=terms.deadline is not None)

    def submit(
        self, inputs: Arrays, rows: int, done: Done, terms: Terms = WHENEVER, *, gone: Callable[[], bool] | None = None
    ) -> Ticket:
        """Queue a request.

        Args:
            inputs: every input of the engine's signature.
            rows: how many rows each of them has, at least one.
            done: called once, later, on the event loop, with the outputs for just these rows, or with an error:
                PredictionFailed when the engine raises for them, DeadlineExceeded or Overloaded when it is too late for them.
            terms: when the answer must be there, and before whose.
            gone: says that nobody waits any more; asked before the rows are computed.

        Raises:
            Overloaded: too many rows wait already, or it would not be answered in time. How many rows come with this request
                counts only for the time, so that large ones have a chance beside small ones; their size is bounded where bodies
                are read.
            Unavailable: the version is being let go.
        """
        now = time.perf_counter()
        bucket = self._bucket(inputs)
        self._offer(bucket, rows, now)
        judged = None if terms.let_in and rows == 1 else terms.deadline
        if self._full or self._closed or judged is not None:
            refusal = self._refusal(bucket, rows, judged, terms.priority, now)
            if refusal is not None:
                raise refusal
        self._main = bucket
        deadline = math.inf if terms.deadline is None else terms.deadline
        work = Work(Call(inputs, done, terms.own_deadline, gone), rows, now, deadline, terms.priority)
        self._measurements.rows_in_flight += rows
        bucket.runner.queue(bucket.lane, work)
        return Ticket(self, bucket, work)

    async def close(self) -> None:
        """Answer what was let in and what is queued, then let the engine go."""
        if self._closing:
            return
        self._closing = True
        await self._until(lambda: not self._unread)
        self._closed = True
        # A batch may run on after the last who waited for it has left.
        await self._until(
            lambda: not self._measurements.rows_in_flight and all(bucket.idle for bucket in self._buckets.values())
        )
        for bucket in self._buckets.values():
            bucket.runner.remove(bucket.lane)
        self._buckets.clear()
        await asyncio.to_thread(self._computer.close)

    def _read(self, read: Callable[[], None]) -> None:
        self._unread -= 1
        self._progressed.set()
        read()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._progressed.clear()
            await self._progressed.wait()

    def _refusal_by_head(self, deadline: float | None, now: float) -> Overloaded | Unavailable | None:
        refusal = self._refusal(self._main, 1, deadline, INTERACTIVE, now)
        if refusal:
            self._offer(self._main, 1, now)  # what is refused is asked for, too; what is let in counts when it is queued
        return refusal

    def _offer(self, bucket: Bucket, rows: int, now: float) -> None:
        costs, rows = bucket.lane.costs, rows + self._decided.refused_alike
        self._decided.refused_alike = 0
        self._runners.load.offer(rows, costs.seconds_per_row, costs.seconds_per_batch, self._max_batch_rows, now)

    @property
    def _full(self) -> bool:
        return self._measurements.rows_in_flight >= self._max_waiting_rows

    def _refusal(
        self, bucket: Bucket, rows: int, deadline: float | None, priority: Priority, now: float
    ) -> Overloaded | Unavailable | None:
        if self._closed:
            return Unavailable("this server is stopping; send the request again")
        if self._full:
            self._measurements.shed["queue"] += 1
            wait = max(LEAST_RETRY_SECONDS, math.ceil(bucket.runner.backlog_seconds(now)))
            waiting = self._measurements.rows_in_flight
            return Overloaded(f"{waiting} rows wait already; try again in {wait} s", retry_after=wait)
        if deadline is None or (found := self._not_in_time(bucket, rows, deadline, priority, now)) is None:
            return None
        return found.said(max(deadline - now, 0.0))

    def _not_in_time(self, bucket: Bucket, rows: int, deadline: float, priority: Priority, now: float) -> TooLate | None:
        """Why the answer would come after the deadline: for what the engine has to do, or the event loop."""
        turns = self._runners.turns
        ahead = turns.seconds_ahead(len(bucket.lane.queue))
        refusal = bucket.runner.refusal(bucket.lane, rows, deadline - ahead, now, priority)
        if refusal is None and ahead <= turns.patience(deadline - now, now):
            return None
        self._measurements.shed["deadline"] += 1
        if refusal is None or bucket.runner.refusal(bucket.lane, rows, deadline, now, priority) is None:
            turns.refused(now)
        else:
            bucket.lane.refused(now)
        if refusal is None:
            # It would be in time, but it would keep others waiting who are refused in the end.
            return TooLate(ahead, turns.time_needed(ahead, now), LEAST_RETRY_SECONDS)
        seconds = refusal.seconds + ahead
        return TooLate(seconds, seconds, refusal.retry_after)

    def _bucket(self, inputs: Arrays) -> Bucket:
        """The bucket of a request, on the runner where it belongs now."""
        shape: Shape = tuple(inputs[name].shape[1:] for name in self._sized) if self._sized else ()
        bucket = self._buckets.get(shape)
        if bucket is None:
            bucket = self._new_bucket(shape, self.costs)
        if bucket.idle:
            bucket.place(self._runners, self._max_batch_rows)
        return bucket

    def _new_bucket(self, shape: Shape, costs: CostModel) -> Bucket:
        if len(self._buckets) >= MAX_BUCKETS:
            self._forget_one()
        # Another size takes another time; what the last one took is the nearest that is known.
        own = costs if not self._buckets else CostModel(costs.seconds_per_row, costs.seconds_per_batch)
        lane = EngineLane(self._computer, own, self._max_batch_rows, self._answer)
        bucket = Bucket(lane, self._runners.thread)
        bucket.runner.add(lane)
        bucket.place(self._runners, self._max_batch_rows)
        self._buckets[shape] = bucket
        return bucket

    def _forget_one(self) -> None:
        for shape, bucket in self._buckets.items():
            if bucket is not self._main and bucket.idle:
                bucket.runner.remove(bucket.lane)
                del self._buckets[shape]
                return

    def _answer(self, _lane: EngineLane, taken: Taken[Call], computed: Computed | None, started: float) -> None:
        """Give a batch's outcomes to those who asked; called by a runner on the event loop, after the end of each batch."""
        self._progressed.set()
        for work in taken.late:
            self._measurements.shed["late"] += 1
            self._settle(work, said_of_late(started - work.arrived, own_deadline=work.item.own_deadline))
        for work in taken.unwanted:
            self._settle(work, said_to_nobody())
        if computed is None:
            return
        self._measure(taken, computed, started)
        began = time.perf_counter()
        for piece, outcome in zip(taken.pieces, computed.outcomes, strict=True):
            work, call = piece.work, piece.work.item
            if call.settled:
                continue
            if isinstance(outcome, Exception) or piece.rows == work.rows:
                self._settle(work, outcome)
            else:
                call.outputs.append(outcome)
                if piece.last:
                    self._settle(work, whole(call.outputs))
        self._runners.turns.answered(len(taken.pieces), time.perf_counter() - began)

    def _settle(self, work: Work[Call], outcome: Outcome) -> None:
        call = work.item
        if call.settled:
            return
        call.settled = True
        self._measurements.rows_in_flight -= work.rows
        try:
            call.done(outcome)
        except Exception:
            # One caller to whom nothing can be given must not cost the others of the batch their answers.
            log.exception("an answer could not be given to its caller")

    def _cancel(self, bucket: Bucket, work: Work[Call]) -> None:
        if not work.item.settled:
            work.item.settled = True
            self._measurements.rows_in_flight -= work.rows
            bucket.runner.discard(bucket.lane, work)
            self._progressed.set()

    def _measure(self, taken: Taken[Call], computed: Computed, started: float) -> None:
        measured = self._measurements
        for piece in taken.pieces:
            if piece.start == 0:
                measured.queue_seconds.observe(started - piece.work.arrived)
        measured.batch_rows.observe(taken.rows)
        measured.compute_seconds.observe(computed.seconds)
        measured.engine_failures += computed.failures
        measured.rows += taken.rows
        measured.last_inference = time.time()
        statistics = measured.batches.get(taken.rows)
        if statistics is None:
            statistics = measured.batches[taken.rows] = BatchStatistics()
        statistics.join.add(computed.join_seconds)
        statistics.run.add(computed.run_seconds)
        statistics.split.add(computed.split_seconds)
