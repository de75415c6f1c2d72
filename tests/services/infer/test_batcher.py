"""The batcher: takes what waits, never waits itself, and gives every caller its own rows."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from windlass_core.errors import Unavailable
from windlass_infer.batcher import Batcher
from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.errors import Overloaded, PredictionFailed
from windlass_infer.metrics import Measurements
from windlass_infer.predictor import ServedVersion

POISON = 666.0
DEADLINE_SECONDS = 10
SIGNATURE = EngineSignature(
    inputs=(TensorSignature("features", "FP32", (-1, 1)),), outputs=(TensorSignature("doubled", "FP32", (-1, 1)),)
)


@dataclass
class HeldEngine:
    """Answers twice each row; each run waits until `go` is set, and raises when a row is poisoned."""

    go: Event = field(default_factory=Event)
    entered: Event = field(default_factory=Event)
    batches: list[int] = field(default_factory=list)
    lost_rows: int = 0
    closed: bool = False
    name: str = "held"
    variant: str = "held"
    platform: str = "held"
    signature: EngineSignature = SIGNATURE

    def run(self, inputs: Arrays) -> Arrays:
        features = inputs["features"]
        self.batches.append(len(features))
        self.entered.set()
        assert self.go.wait(DEADLINE_SECONDS)
        if (features == POISON).any():
            raise ValueError("poisoned")
        return {"doubled": 2 * features[self.lost_rows :]}

    def close(self) -> None:
        self.closed = True


class Bench:
    """A batcher over an engine that the test lets go."""

    def __init__(self, **options: int) -> None:
        self.engine = HeldEngine()
        self.registry = CollectorRegistry()
        version = ServedVersion("m", 1, "sha256:00", "m")
        self.batcher = Batcher(self.engine, Measurements.register(version, "held", self.registry), **options)

    def ask(self, *values: float) -> "asyncio.Future[Arrays]":
        return self.batcher.submit({"features": np.array(values, dtype=np.float32).reshape(-1, 1)}, len(values))

    async def occupy(self) -> "asyncio.Future[Arrays]":
        """Ask for one row and wait until the engine has taken it."""
        future = self.ask(0)
        assert await asyncio.to_thread(self.engine.entered.wait, DEADLINE_SECONDS)
        return future

    def measured(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, DEADLINE_SECONDS)

    asyncio.run(bounded())


def doubled(*values: float) -> list[list[float]]:
    return [[2 * value] for value in values]


async def answer(future: "asyncio.Future[Arrays]") -> list[list[float]]:
    rows: list[list[float]] = (await future)["doubled"].tolist()
    return rows


def test_what_waits_while_the_engine_works_becomes_one_batch() -> None:
    async def test() -> None:
        bench = Bench()
        first = await bench.occupy()
        others = [bench.ask(1), bench.ask(2, 3), bench.ask(4)]
        bench.engine.go.set()
        assert await answer(first) == doubled(0)
        assert [await answer(other) for other in others] == [doubled(1), doubled(2, 3), doubled(4)]
        assert bench.engine.batches == [1, 4]
        await bench.batcher.close()

    run(test())


def test_a_single_request_is_not_kept_waiting_for_others() -> None:
    async def test() -> None:
        bench = Bench()
        bench.engine.go.set()
        assert await answer(bench.ask(7)) == doubled(7)
        assert bench.engine.batches == [1]
        await bench.batcher.close()

    run(test())


def test_a_batch_has_no_more_rows_than_allowed_and_a_large_request_is_cut() -> None:
    async def test() -> None:
        bench = Bench(max_batch_rows=4)
        first = await bench.occupy()
        others = [bench.ask(1, 2, 3), bench.ask(4, 5), bench.ask(*range(10)), bench.ask(6)]
        bench.engine.go.set()
        await first
        assert [await answer(other) for other in others] == [doubled(1, 2, 3), doubled(4, 5), doubled(*range(10)), doubled(6)]
        assert bench.engine.batches == [1, 3, 2, 4, 4, 2, 1]
        await bench.batcher.close()

    run(test())


def test_rows_come_back_to_those_who_sent_them() -> None:
    async def test() -> None:
        bench = Bench(max_batch_rows=16)
        bench.engine.go.set()
        dice = random.Random(5)  # noqa: S311  # a fixed order of arrivals, no secret

        async def ask(caller: int) -> bool:
            await asyncio.sleep(dice.random() / 100)
            values = [caller + share / 8 for share in range(dice.randint(1, 6))]
            return await answer(bench.ask(*values)) == doubled(*values)

        assert all(await asyncio.gather(*(ask(caller) for caller in range(500))))
        assert len(bench.engine.batches) < 500
        assert bench.measured("windlass_infer_rows_in_flight") == 0
        await bench.batcher.close()

    run(test())


def test_more_than_may_wait_is_refused_and_taken_again_later() -> None:
    async def test() -> None:
        bench = Bench(max_waiting_rows=3)
        first = await bench.occupy()
        second = bench.ask(1, 2)
        with pytest.raises(Overloaded, match="3 rows wait already"):
            bench.ask(3)
        assert bench.measured("windlass_infer_rows_in_flight") == 3
        bench.engine.go.set()
        await asyncio.gather(first, second)
        assert await answer(bench.ask(3)) == doubled(3)
        await bench.batcher.close()

    run(test())


def test_a_request_larger_than_the_queue_is_taken_beside_others() -> None:
    async def test() -> None:
        bench = Bench(max_waiting_rows=3)
        first = await bench.occupy()
        large = bench.ask(*range(9))
        bench.engine.go.set()
        await first
        assert await answer(large) == doubled(*range(9))
        await bench.batcher.close()

    run(test())


def test_an_engine_that_raises_for_one_row_fails_only_its_caller() -> None:
    async def test() -> None:
        bench = Bench()
        first = await bench.occupy()
        others = [bench.ask(1), bench.ask(2, POISON), bench.ask(3)]
        bench.engine.go.set()
        await first
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(outcomes[1], PredictionFailed)
        assert "poisoned" not in outcomes[1].message
        assert [await answer(others[0]), await answer(others[2])] == [doubled(1), doubled(3)]
        assert bench.measured("windlass_infer_engine_failures_total") == 2  # the batch, and the guilty one alone
        assert await answer(bench.ask(4)) == doubled(4)
        await bench.batcher.close()

    run(test())


def test_an_engine_that_loses_rows_fails_its_callers_instead_of_mixing_them() -> None:
    async def test() -> None:
        bench = Bench()
        first = await bench.occupy()
        bench.engine.lost_rows = 1
        others = [first, bench.ask(1), bench.ask(2)]
        bench.engine.go.set()
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PredictionFailed] * 3
        await bench.batcher.close()

    run(test())


def test_a_caller_that_went_away_costs_no_computing() -> None:
    async def test() -> None:
        bench = Bench()
        first = await bench.occupy()
        gone, stays = bench.ask(1, 2, 3), bench.ask(4)
        gone.cancel()
        bench.engine.go.set()
        await first
        assert await answer(stays) == doubled(4)
        assert bench.engine.batches == [1, 1]
        assert bench.measured("windlass_infer_rows_in_flight") == 0
        await bench.batcher.close()

    run(test())


def test_closing_answers_what_waits_then_refuses_and_closes_the_engine() -> None:
    async def test() -> None:
        bench = Bench(max_batch_rows=2)
        futures = [await bench.occupy(), bench.ask(1), bench.ask(2), bench.ask(3)]
        closing = asyncio.create_task(bench.batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="stopping"):
            bench.ask(4)
        closed_early = bench.engine.closed
        bench.engine.go.set()
        await closing
        assert not closed_early
        assert [await answer(future) for future in futures] == [doubled(value) for value in range(4)]
        assert bench.engine.closed
        await bench.batcher.close()  # twice is no harm

    run(test())


def test_queue_compute_and_batch_sizes_are_measured() -> None:
    async def test() -> None:
        bench = Bench()
        futures = [await bench.occupy(), bench.ask(1), bench.ask(2, 3)]
        bench.engine.go.set()
        await asyncio.gather(*futures)
        await bench.batcher.close()
        assert bench.measured("windlass_infer_queue_seconds_count") == 3
        assert bench.measured("windlass_infer_compute_seconds_count") == 2
        assert bench.measured("windlass_infer_batch_rows_sum") == 4

    run(test())
