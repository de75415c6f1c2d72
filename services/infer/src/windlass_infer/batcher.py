"""Turns requests that wait at the same time into batches for one engine, on a thread of its own.

The rule is work-conserving: whenever the engine is free it takes what is queued, up to MAX_BATCH_ROWS, and it never waits for
more. On a CPU waiting only adds latency; batches grow by themselves while the engine is busy.

    submit   (event loop)      queue a request, or refuse it when too much waits
    _take    (engine thread)   what is queued now
    _answer  (engine thread)   run it; if that raises, run each request alone, so that only the guilty one fails
    _deliver (event loop)      rows back to the futures of those who sent them

Everything counted is counted on the event loop, so there is no lock. Knows no protocol and no model, only rows of named arrays.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np

from windlass_core.errors import Unavailable
from windlass_infer.engine import Arrays, Engine
from windlass_infer.errors import Overloaded, PredictionFailed
from windlass_infer.metrics import Measurements

# Beyond this the fixed cost of a run is spread thin (a fifteenth of a batch of a tiny network on ONNX Runtime), and more rows
# would only make the first caller of a batch wait for the last.
MAX_BATCH_ROWS = 128
# Rows that may wait before new ones are refused: 32 full batches. An early 429, after which another pod can answer, is better
# than a long queue.
MAX_WAITING_ROWS = 4096
RETRY_AFTER_SECONDS = 1

log = logging.getLogger(__name__)

Answer = Arrays | Exception


@dataclass(slots=True)
class _Waiting:
    """One request in the queue."""

    inputs: Arrays
    rows: int
    future: "asyncio.Future[Arrays]"
    since: float


class Batcher:
    """A queue in front of an engine. Made and used on the event loop; `close` ends its thread and the engine."""

    def __init__(
        self,
        engine: Engine,
        measurements: Measurements,
        *,
        max_batch_rows: int = MAX_BATCH_ROWS,
        max_waiting_rows: int = MAX_WAITING_ROWS,
    ) -> None:
        self._engine = engine
        self._measurements = measurements
        self._max_batch_rows = max_batch_rows
        self._max_waiting_rows = max_waiting_rows
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._held: list[_Waiting | None] = []  # taken from the queue, but not for the batch before
        self._rows_in_flight = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, inputs: Arrays, rows: int) -> "asyncio.Future[Arrays]":
        """Queue rows for the engine.

        Args:
            inputs: every input of the engine's signature.
            rows: how many rows each of them has, at least one.

        Returns:
            A future of the outputs for just these rows. It fails with PredictionFailed when the engine raises for them.
            Cancelling it takes the rows out of the queue, if the engine has not taken them yet.

        Raises:
            Overloaded: too many rows wait already. How many come with this request does not count, so that large ones have a
                chance beside small ones; their size is bounded where bodies are read.
            Unavailable: the server is stopping.
        """
        if self._closed:
            raise Unavailable("this server is stopping; send the request again")
        if self._rows_in_flight >= self._max_waiting_rows:
            raise Overloaded(f"{self._rows_in_flight} rows wait already; try again in {RETRY_AFTER_SECONDS} s")
        future: asyncio.Future[Arrays] = self._loop.create_future()
        self._count(rows)
        self._queue.put(_Waiting(inputs, rows, future, time.perf_counter()))
        return future

    async def close(self) -> None:
        """Answer what is queued, then end the thread and close the engine."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while batch := self._take():
            wanted = [waiting for waiting in batch if not waiting.future.cancelled()]
            answers = self._answer(wanted) if wanted else []
            self._loop.call_soon_threadsafe(self._deliver, batch, wanted, answers)
        self._engine.close()

    def _take(self) -> list[_Waiting]:
        """What is queued, at least one request and, beyond the first, at most `max_batch_rows`; empty when closed."""
        batch: list[_Waiting] = []
        rows = 0
        while True:
            try:
                waiting = self._held.pop() if self._held else self._queue.get(block=not batch)
            except Empty:
                return batch
            if waiting is None or (batch and rows + waiting.rows > self._max_batch_rows):
                # The end, when it comes behind other requests, is found again by the next call.
                if batch:
                    self._held.append(waiting)
                return batch
            batch.append(waiting)
            rows += waiting.rows

    def _answer(self, batch: Sequence[_Waiting]) -> Sequence[Answer]:
        started = time.perf_counter()
        for waiting in batch:
            self._measurements.queue_seconds.observe(started - waiting.since)
        sizes = [waiting.rows for waiting in batch]
        self._measurements.batch_rows.observe(sum(sizes))
        try:
            answers: Sequence[Answer] = _split(self._run(_joined(batch), sum(sizes)), sizes)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything, and the thread must live
            answers = self._failed(batch, error)
        self._measurements.compute_seconds.observe(time.perf_counter() - started)
        return answers

    def _failed(self, batch: Sequence[_Waiting], error: Exception) -> Sequence[Answer]:
        """Answers after a run that raised: each request again, alone."""
        self._measurements.failures.inc()
        log.error("the engine raised for a batch of %d requests", len(batch), exc_info=error)
        if len(batch) > 1:
            return [self._answer_alone(waiting) for waiting in batch]
        return [PredictionFailed("the model's program failed on this request; the service's log tells why")]

    def _answer_alone(self, waiting: _Waiting) -> Answer:
        try:
            return self._run(waiting.inputs, waiting.rows)
        except Exception as error:  # noqa: BLE001  # as above
            return self._failed([waiting], error)[0]

    def _run(self, inputs: Arrays, rows: int) -> Arrays:
        """The engine's outputs, in pieces of at most `max_batch_rows`; each must have as many rows as went in."""
        pieces = [
            self._engine.run({name: values[start : start + self._max_batch_rows] for name, values in inputs.items()})
            for start in range(0, rows, self._max_batch_rows)
        ]
        outputs = pieces[0]
        if len(pieces) > 1:
            outputs = {name: np.concatenate([piece[name] for piece in pieces]) for name in outputs}
        for name, values in outputs.items():
            if len(values) != rows:
                raise ValueError(f"output '{name}' has {len(values)} rows for {rows} rows of input")
        return outputs

    def _deliver(self, batch: Sequence[_Waiting], wanted: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
        self._count(-sum(waiting.rows for waiting in batch))
        for waiting, answer in zip(wanted, answers, strict=True):
            if waiting.future.done():
                continue
            if isinstance(answer, Exception):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)

    def _count(self, rows: int) -> None:
        self._rows_in_flight += rows
        self._measurements.rows_in_flight.set(self._rows_in_flight)


def _joined(batch: Sequence[_Waiting]) -> Arrays:
    """The rows of all requests below one another."""
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}


def _split(outputs: Arrays, sizes: Sequence[int]) -> list[Arrays]:
    """The rows of each request, in the order of the batch."""
    if len(sizes) == 1:
        return [outputs]
    bounds = np.cumsum(sizes)[:-1].tolist()
    columns = {name: np.split(values, bounds) for name, values in outputs.items()}
    return [{name: pieces[index] for name, pieces in columns.items()} for index in range(len(sizes))]
