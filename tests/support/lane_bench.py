"""A lane over an engine that the test lets go."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from threading import Event, get_ident
from typing import Any

import numpy as np

from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.lanes.asking import ask
from windlass_infer.lanes.lane import Lane
from windlass_infer.lanes.runners import Runners
from windlass_infer.lanes.terms import Terms
from windlass_infer.metrics import Measurements
from windlass_infer.predictor import ServedVersion
from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.queue import Priority

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

    def ask(
        self,
        *values: float,
        deadline: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
        let_in: bool = False,
    ) -> "asyncio.Future[Arrays]":
        rows = np.array(values, dtype=np.float32).reshape(-1, 1)
        terms = Terms(deadline, own_deadline=True, priority=priority, let_in=let_in)
        return ask(self.lane.submit, {"x": rows}, len(rows), terms)

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


def doubled(*values: float) -> list[list[float]]:
    return [[2 * value] for value in values]


async def answer(future: "asyncio.Future[Arrays]") -> list[list[float]]:
    rows: list[list[float]] = (await future)["doubled"].tolist()
    return rows
