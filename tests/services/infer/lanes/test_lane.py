"""A lane: takes what waits, never waits itself, gives every caller its own rows, and refuses what it cannot answer in time."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from threading import Event, get_ident
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass_core.errors import Unavailable
from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.errors import DeadlineExceeded, Overloaded, PredictionFailed
from windlass_infer.lanes.computing import Outcome
from windlass_infer.lanes.lane import Lane, ask
from windlass_infer.lanes.runners import Runners
from windlass_infer.metrics import Measurements
from windlass_infer.predictor import ServedVersion
from windlass_infer.scheduling.costs import CostModel

POISON = 666.0
DEADLINE_SECONDS = 10
FIXED = EngineSignature((TensorSignature("x", "FP32", (-1, 1)),), (TensorSignature("doubled", "FP32", (-1, 1)),))
FREE = EngineSignature((TensorSignature("x", "FP32", (-1, -1)),), (TensorSignature("doubled", "FP32", (-1, -1)),))


@dataclass
class HeldEngine:
    """Answers twice each row; each run waits until `go` is set, and raises when a row is poisoned."""

    go: Event = field(default_factory=Event)
    entered: Event = field(default_factory=Event)
    batches: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    lost_rows: int = 0
    closed: bool = False
    name: str = "held"
    variant: str = "held"
    platform: str = "held"
    signature: EngineSignature = FIXED

    def run(self, inputs: Arrays) -> Arrays:
        features = inputs["x"]
        self.batches.append(len(features))
        self.threads.add(get_ident())
        self.entered.set()
        assert self.go.wait(DEADLINE_SECONDS)
        if (features == POISON).any():
            raise ValueError("poisoned")
        return {"doubled": 2 * features[self.lost_rows :]}

    def close(self) -> None:
        self.closed = True


class Bench:
    """A lane over an engine that the test lets go."""

    def __init__(
        self,
        *,
        seconds_per_row: float = 1.0,
        runners: Runners | None = None,
        signature: EngineSignature = FIXED,
        **options: int,
    ) -> None:
        self.engine = HeldEngine(signature=signature)
        costs = CostModel(seconds_per_row, 1e-6)
        version = ServedVersion("m", 1, "sha256:00", "m")
        self.runners = runners or Runners.start()
        self.measured = Measurements(version, "held", "held", lambda: (costs.seconds_per_row, costs.seconds_per_batch))
        self.lane = Lane(self.engine, costs, self.runners, self.measured, **options)

    def ask(self, *values: float, deadline: float | None = None, priority: int = 0) -> "asyncio.Future[Arrays]":
        rows = np.array(values, dtype=np.float32).reshape(-1, 1)
        return ask(self.lane.submit, {"x": rows}, len(rows), deadline=deadline, priority=priority)

    async def occupy(self) -> "asyncio.Future[Arrays]":
        """Ask for one row and wait until the engine has taken it."""
        future = self.ask(0)
        assert await asyncio.to_thread(self.engine.entered.wait, DEADLINE_SECONDS)
        return future

    async def close(self) -> None:
        self.engine.go.set()
        await self.lane.close()
        await self.runners.thread.close()


def run(test: Callable[..., Coroutine[Any, Any, None]], **options: Any) -> None:
    """The test with a bench, which is closed after it."""

    async def bounded() -> None:
        bench = Bench(**options)
        try:
            await asyncio.wait_for(test(bench), DEADLINE_SECONDS)
        finally:
            await bench.close()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for happens on another thread
        await asyncio.sleep(0.001)


def doubled(*values: float) -> list[list[float]]:
    return [[2 * value] for value in values]


async def answer(future: "asyncio.Future[Arrays]") -> list[list[float]]:
    rows: list[list[float]] = (await future)["doubled"].tolist()
    return rows


def test_what_waits_while_the_engine_works_becomes_one_batch() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        others = [bench.ask(1), bench.ask(2, 3), bench.ask(4)]
        bench.engine.go.set()
        assert await answer(first) == doubled(0)
        assert [await answer(other) for other in others] == [doubled(1), doubled(2, 3), doubled(4)]
        assert bench.engine.batches == [1, 4]

    run(test)


def test_a_single_request_is_not_kept_waiting_for_others() -> None:
    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        assert await answer(bench.ask(7)) == doubled(7)
        assert bench.engine.batches == [1]

    run(test)


def test_what_takes_microseconds_runs_on_the_event_loop_and_what_one_turn_has_read_is_one_batch() -> None:
    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        answers = await asyncio.gather(*(answer(bench.ask(value)) for value in range(40)))
        assert answers == [doubled(value) for value in range(40)]
        assert bench.engine.batches == [40]
        assert bench.engine.threads == {get_ident()}

    run(test, seconds_per_row=1e-6)


def test_what_takes_longer_runs_on_a_thread() -> None:
    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        await bench.ask(1)
        assert get_ident() not in bench.engine.threads

    run(test, seconds_per_row=0.01)


def test_a_lane_that_becomes_fast_moves_to_the_event_loop() -> None:
    """Its costs are learned: what was thought to take 10 ms takes microseconds."""

    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        while get_ident() not in bench.engine.threads:
            await bench.ask(1)
        assert len(bench.engine.threads) == 2
        assert len(bench.engine.batches) < 50

    run(test, seconds_per_row=0.01)


def test_a_batch_has_no_more_rows_than_allowed_and_only_a_large_request_is_cut() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        others = [bench.ask(1, 2, 3), bench.ask(4, 5), bench.ask(*range(10)), bench.ask(6)]
        bench.engine.go.set()
        await first
        assert [await answer(other) for other in others] == [doubled(1, 2, 3), doubled(4, 5), doubled(*range(10)), doubled(6)]
        assert bench.engine.batches[:2] == [1, 3]
        assert max(bench.engine.batches) <= 4
        assert sum(bench.engine.batches) == 17

    run(test, max_batch_rows=4)


def test_small_requests_go_between_the_pieces_of_a_large_one() -> None:
    async def test(bench: Bench) -> None:
        order: list[str] = []
        first = await bench.occupy()
        large, small = bench.ask(*range(40)), bench.ask(1)
        large.add_done_callback(lambda _: order.append("large"))
        small.add_done_callback(lambda _: order.append("small"))
        bench.engine.go.set()
        await asyncio.gather(first, large, small)
        assert order == ["small", "large"]

    run(test, max_batch_rows=4)


Sizes = st.lists(st.integers(1, 12), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(sizes=Sizes, batch=st.integers(1, 9), inline=st.booleans(), poisoned=st.sets(st.integers(0, 24), max_size=3))
def test_whatever_arrives_every_caller_gets_its_own_rows(
    sizes: list[int], batch: int, inline: bool, poisoned: set[int]
) -> None:
    async def test(bench: Bench) -> None:
        async def ask(caller: int, rows: int) -> bool:
            for _ in range(caller % 3):
                await asyncio.sleep(0)
            values = [caller * 100.0 + row for row in range(rows)]
            if caller in poisoned:
                values[-1] = POISON
            try:
                return await answer(bench.ask(*values)) == doubled(*values) and caller not in poisoned
            except PredictionFailed:
                return caller in poisoned

        bench.engine.go.set()
        assert all(await asyncio.gather(*(ask(caller, rows) for caller, rows in enumerate(sizes))))
        assert bench.measured.rows_in_flight == 0

    run(test, max_batch_rows=batch, seconds_per_row=1e-6 if inline else 1.0)


def test_requests_of_different_sizes_do_not_meet_in_a_batch() -> None:
    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        widths = [3, 5, 3, 8, 5]
        inputs = [np.full((2, width), width, np.float32) for width in widths]
        outputs = await asyncio.gather(*(ask(bench.lane.submit, {"x": values}, 2) for values in inputs))
        assert [output["doubled"].shape for output in outputs] == [(2, width) for width in widths]
        assert sorted(bench.engine.batches) == [2, 4, 4]

    run(test, signature=FREE, seconds_per_row=1e-6)


def test_sizes_without_end_do_not_fill_the_memory() -> None:
    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        for width in range(1, 200):
            await ask(bench.lane.submit, {"x": np.ones((1, width), np.float32)}, 1)
        assert len(bench.lane._buckets) <= 64

    run(test, signature=FREE, seconds_per_row=1e-6)


def test_answers_of_one_batch_are_not_changed_by_the_next() -> None:
    """An engine that hands its input through must not have its answers overwritten by the next batch."""

    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        bench.engine.run = lambda inputs: {"doubled": inputs["x"]}  # type: ignore[method-assign]
        values = [np.full((4, 64_000), number, np.float32) for number in range(6)]
        outputs = []
        for pair in range(3):
            batch = [ask(bench.lane.submit, {"x": value}, 4) for value in values[2 * pair : 2 * pair + 2]]
            outputs += await asyncio.gather(*batch)
        assert [bool((output["doubled"] == number).all()) for number, output in enumerate(outputs)] == [True] * 6

    run(test, signature=FREE, seconds_per_row=1e-6)


def test_more_than_may_wait_is_refused_with_a_time_and_taken_again_later() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        second = bench.ask(1, 2)
        with pytest.raises(Overloaded, match="3 rows wait already") as refused:
            bench.ask(3)
        assert refused.value.retry_after >= 2, "two rows of a second each are to come"
        assert (bench.measured.rows_in_flight, bench.measured.shed["queue"]) == (3, 1)
        bench.engine.go.set()
        await asyncio.gather(first, second)
        assert await answer(bench.ask(3)) == doubled(3)

    run(test, max_waiting_rows=3)


def test_a_request_larger_than_the_queue_is_taken_beside_others() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        large = bench.ask(*range(9))
        bench.engine.go.set()
        await first
        assert await answer(large) == doubled(*range(9))

    run(test, max_waiting_rows=3)


def test_what_would_not_be_in_time_is_refused_at_once() -> None:
    async def test(bench: Bench) -> None:
        await bench.occupy()
        now = time.perf_counter()
        with pytest.raises(Overloaded, match="must be there in") as refused:
            bench.ask(1, deadline=now + 0.5)
        assert refused.value.retry_after >= 1
        assert bench.measured.shed["deadline"] == 1
        with pytest.raises(Overloaded):
            bench.lane.refuse_early(now + 0.5, now)
        bench.lane.refuse_early(None, now)
        assert not bench.ask(1, deadline=now + 60).done()

    run(test)


def test_an_idle_engine_takes_what_will_probably_be_late() -> None:
    """A run costs nobody anything, and tells whether it still takes so long."""

    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        assert await answer(bench.ask(1, deadline=time.perf_counter() + 0.5)) == doubled(1)

    run(test)


@pytest.mark.parametrize(
    ("own", "error"),
    [(True, DeadlineExceeded), (False, Overloaded)],
    ids=["a deadline of its own ends in 504", "the server's in 429"],
)
def test_what_became_late_in_the_queue_is_dropped(own: bool, error: type[Exception]) -> None:
    async def test(bench: Bench) -> None:
        outcomes: list[Outcome] = []
        first = await bench.occupy()
        late = np.ones((1, 1), np.float32)
        deadline = time.perf_counter() + 0.05
        bench.lane.submit({"x": late}, 1, outcomes.append, deadline=deadline, own_deadline=own)
        await until(lambda: time.perf_counter() > deadline)
        bench.engine.go.set()
        await first
        await until(lambda: bool(outcomes))
        assert isinstance(outcomes[0], error)
        assert "in the queue" in str(outcomes[0])
        assert (bench.measured.shed["late"], bench.engine.batches) == (1, [1])

    run(test, seconds_per_row=0.003)


def test_interactive_requests_go_before_batch_work() -> None:
    async def test(bench: Bench) -> None:
        order: list[str] = []
        first = await bench.occupy()
        work = [bench.ask(*range(4), priority=2) for _ in range(3)]
        for future in work:
            future.add_done_callback(lambda _: order.append("batch work"))
        person = bench.ask(1)
        person.add_done_callback(lambda _: order.append("person"))
        bench.engine.go.set()
        await asyncio.gather(first, person, *work)
        assert order[0] == "person"

    run(test, max_batch_rows=4)


def test_an_engine_that_raises_for_one_row_fails_only_its_caller() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        others = [bench.ask(1), bench.ask(2, POISON), bench.ask(3)]
        bench.engine.go.set()
        await first
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(outcomes[1], PredictionFailed)
        assert "poisoned" not in outcomes[1].message
        assert [await answer(others[0]), await answer(others[2])] == [doubled(1), doubled(3)]
        assert bench.measured.engine_failures == 2  # the batch, and the guilty one alone
        assert await answer(bench.ask(4)) == doubled(4)

    run(test)


def test_an_engine_that_loses_rows_fails_its_callers_instead_of_mixing_them() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        bench.engine.lost_rows = 1
        others = [first, bench.ask(1), bench.ask(2)]
        bench.engine.go.set()
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PredictionFailed] * 3

    run(test)


def test_a_caller_that_went_away_costs_no_computing() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        cancelled, stays = bench.ask(1, 2, 3), bench.ask(4)
        one = np.ones((1, 1), np.float32)
        bench.lane.submit({"x": one}, 1, lambda _: None, gone=lambda: True)
        cancelled.cancel()
        bench.engine.go.set()
        await first
        assert await answer(stays) == doubled(4)
        assert bench.engine.batches == [1, 1]
        await until(lambda: bench.measured.rows_in_flight == 0)

    run(test)


def test_an_engine_that_hangs_is_noticed() -> None:
    async def test(bench: Bench) -> None:
        thread = bench.runners.thread
        await bench.occupy()
        now = time.perf_counter()
        assert thread.hanging_seconds(now) == 0
        assert thread.hanging_seconds(now + 29) == 0, "20 times what is expected, and at least 30 s"
        assert thread.hanging_seconds(now + 31) > 30
        bench.engine.go.set()

    run(test, seconds_per_row=0.01)


def test_closing_answers_what_waits_then_refuses_and_closes_the_engine() -> None:
    async def test(bench: Bench) -> None:
        futures = [await bench.occupy(), bench.ask(1), bench.ask(2), bench.ask(3)]
        closing = asyncio.create_task(bench.lane.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="stopping"):
            bench.ask(4)
        closed_early = bench.engine.closed
        bench.engine.go.set()
        await closing
        assert not closed_early
        assert [await answer(future) for future in futures] == [doubled(value) for value in range(4)]
        assert bench.engine.closed
        await bench.lane.close()  # twice is no harm

    run(test, max_batch_rows=2)


def test_two_lanes_share_the_thread_and_neither_waits_for_all_of_the_other() -> None:
    async def test(bench: Bench) -> None:
        other = Bench(runners=bench.runners)
        other.engine.go.set()
        first = await bench.occupy()
        flood = [bench.ask(*range(4)) for _ in range(20)]
        order: list[str] = []
        flood[-1].add_done_callback(lambda _: order.append("flood"))
        one = other.ask(1)
        one.add_done_callback(lambda _: order.append("the other lane"))
        bench.engine.go.set()
        await asyncio.gather(first, one, *flood)
        assert order == ["the other lane", "flood"]
        await other.lane.close()

    run(test, max_batch_rows=4)


def test_queue_compute_and_batch_sizes_are_measured() -> None:
    async def test(bench: Bench) -> None:
        futures = [await bench.occupy(), bench.ask(1), bench.ask(2, 3)]
        bench.engine.go.set()
        await asyncio.gather(*futures)
        measured = bench.measured
        assert (measured.queue_seconds.count, measured.compute_seconds.count) == (3, 2)
        assert (measured.batch_rows.count, measured.batch_rows.sum) == (2, 4)
        assert {rows: statistics.run.count for rows, statistics in measured.batches.items()} == {1: 1, 3: 1}
        assert not math.isnan(measured.queue_seconds.sum)

    run(test)
