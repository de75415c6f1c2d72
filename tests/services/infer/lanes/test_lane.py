"""A lane: takes what waits, waits only for whom it has just answered, and gives every caller its own rows."""

import asyncio
import math
import time
from threading import get_ident

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_bench import FREE, POISON, Bench, answer, doubled, run

from windlass_infer.errors import PredictionFailed
from windlass_infer.lanes.asking import ask


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


def test_a_batch_that_is_held_has_those_who_ask_again_at_once() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        others, lane = [bench.ask(1), bench.ask(2)], bench.lane._main.lane
        lane.holding.holds = True
        lane.costs.observe = lambda _rows, _seconds: None  # type: ignore[method-assign]
        bench.engine.go.set()
        await first
        again = bench.ask(3)
        assert [await answer(other) for other in (*others, again)] == [doubled(1), doubled(2), doubled(3)]
        assert bench.engine.batches == [1, 3]

    run(test)


def test_a_batch_is_held_no_longer_than_lets_one_that_comes_meanwhile_be_in_time() -> None:
    """By what is thought of its batches this lane may hold one for an hour."""

    async def test(bench: Bench) -> None:
        first = bench.ask(1, 2)
        assert await asyncio.to_thread(bench.engine.entered.wait, 10)
        other, lane = bench.ask(3), bench.lane._main.lane
        lane.holding.holds = True
        lane.costs.observe = lambda _rows, _seconds: None  # type: ignore[method-assign]
        bench.engine.go.set()
        await first
        urgent = bench.ask(4, deadline=time.perf_counter() + lane.costs.seconds(3) + 0.01)
        assert [await answer(one) for one in (urgent, other)] == [doubled(4), doubled(3)]
        assert bench.engine.batches == [2, 2]

    run(test, seconds_per_row=10_000.0)


def test_a_batch_is_not_held_for_longer_than_its_time() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()
        other = bench.ask(1)
        bench.lane._main.lane.holding.holds = True
        bench.engine.go.set()
        await first
        assert await answer(other) == doubled(1)

    run(test)


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


def test_a_caller_who_cannot_be_answered_costs_the_others_nothing() -> None:
    async def test(bench: Bench) -> None:
        first = await bench.occupy()

        def broken(_outcome: object) -> None:
            raise ConnectionError("the connection is closed")

        bench.lane.submit({"x": np.ones((1, 1), np.float32)}, 1, broken)
        other = bench.ask(2)
        bench.engine.go.set()
        assert await answer(first) == doubled(0)
        assert await answer(other) == doubled(2)
        assert bench.engine.batches == [1, 2]

    run(test)
