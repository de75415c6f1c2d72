"""A lane: refuses what it cannot answer in time, lets nobody suffer for another, and ends in order."""

import asyncio
import time

import numpy as np
import pytest
from lane_bench import POISON, Bench, answer, doubled, run
from waiting import until_on_loop

from windlass_core.errors import Unavailable
from windlass_infer.errors import DeadlineExceeded, Overloaded, PredictionFailed
from windlass_infer.lanes.computing import Outcome
from windlass_infer.lanes.terms import Terms
from windlass_infer.scheduling.queue import Priority


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
        bench.lane.submit({"x": late}, 1, outcomes.append, Terms(deadline, own_deadline=own))
        await until_on_loop(lambda: time.perf_counter() > deadline)
        bench.engine.go.set()
        await first
        await until_on_loop(lambda: bool(outcomes))
        assert isinstance(outcomes[0], error)
        assert "in the queue" in str(outcomes[0])
        assert (bench.measured.shed["late"], bench.engine.batches) == (1, [1])

    run(test, seconds_per_row=0.003)


def test_interactive_requests_go_before_batch_work() -> None:
    async def test(bench: Bench) -> None:
        order: list[str] = []
        first = await bench.occupy()
        work = [bench.ask(*range(4), priority=Priority.BATCH) for _ in range(3)]
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
        await until_on_loop(lambda: bench.measured.rows_in_flight == 0)

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


def test_closing_waits_for_a_batch_that_nobody_waits_for_any_more() -> None:
    async def test(bench: Bench) -> None:
        running, waiting = await bench.occupy(), bench.ask(1)
        closing = asyncio.create_task(bench.lane.close())
        running.cancel()
        waiting.cancel()
        await until_on_loop(lambda: bench.measured.rows_in_flight == 0)
        assert not closing.done()
        assert not bench.engine.closed
        bench.engine.go.set()
        await closing
        assert (bench.engine.closed, bench.engine.batches) == (True, [1])

    run(test)


def test_closing_ends_when_all_that_waited_has_left() -> None:
    """Behind the batch of another lane, so that no batch of its own ends any more."""

    async def test(bench: Bench) -> None:
        other = Bench(runners=bench.runners)
        await bench.occupy()
        waiting = other.ask(1)
        closing = asyncio.create_task(other.lane.close())
        waiting.cancel()
        await closing
        assert (other.engine.closed, other.engine.batches) == (True, [])

    run(test)


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
