"""One loaded version that answers: what translates, the lane in front of its engine, its cache and its figures.

Made from a loaded model in two steps: `timed` measures what its batches take, on any thread, and `Serving.begin` opens its lane
on the event loop. Knows no protocol, no store and no other version.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from windlass_core.direct import header_lines
from windlass_infer.engine import Arrays, Engine
from windlass_infer.free_sizes import with_free_sizes
from windlass_infer.lanes.asking import ask
from windlass_infer.lanes.cache import CachedLane
from windlass_infer.lanes.computing import Done
from windlass_infer.lanes.lane import Lane, Ticket
from windlass_infer.lanes.runners import Runners
from windlass_infer.lanes.terms import WHENEVER, Terms
from windlass_infer.loader import LoadedModel
from windlass_infer.metrics import Measurements
from windlass_infer.predictor import ServedVersion
from windlass_infer.scheduling.costs import CostModel

# A batch is timed so often, and the fastest counts: what disturbs a run only ever adds to it.
TIMED_RUNS = 3
# Timing takes no longer than about so many seconds; a pod that starts has a client waiting. Larger batches than fit are not
# tried: the first of them tell what they take.
TIMED_SECONDS = 0.3

MODEL_VERSION_HEADER = "X-Model-Version"
MODEL_DIGEST_HEADER = "X-Model-Digest"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimedModel:
    """A loaded model and what its batches take. `folder` holds its files, `bytes_on_disk` what they take."""

    loaded: LoadedModel
    costs: CostModel
    folder: Path
    bytes_on_disk: int

    @property
    def version(self) -> ServedVersion:
        """Which version it is."""
        return self.loaded.predictor.version

    def close(self) -> None:
        """Let go of a model that never served."""
        self.loaded.engine.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def timed(loaded: LoadedModel, max_batch_rows: int, folder: Path) -> TimedModel:
    """Measure what batches of one row and of as many as allowed take."""
    example = loaded.predictor.example_arrays
    one = _best_seconds(loaded.engine, example(1))
    rows = min(max_batch_rows, max(int(TIMED_SECONDS / (TIMED_RUNS * one)), 1))
    many = _best_seconds(loaded.engine, example(rows)) if rows > 1 else one
    per_row = max(many - one, 0.0) / (rows - 1) if rows > 1 else one
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return TimedModel(loaded, CostModel(per_row, max(one - per_row, 0.0)), folder, size)


def _best_seconds(engine: Engine, inputs: Arrays) -> float:
    best = float("inf")
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        engine.run(inputs)
        best = min(best, time.perf_counter() - started)
    return best


class Serving:
    """A version that answers. Used on the event loop."""

    def __init__(self, model: TimedModel, runners: Runners, *, max_batch_rows: int, cache_bytes: int) -> None:
        self.predictor = model.loaded.predictor
        engine = with_free_sizes(model.loaded.engine, self.predictor)
        self.platform, self.variant = engine.platform, engine.variant
        self.engines, self.compared_with = model.loaded.reasons, model.loaded.reference
        self.bytes = model.bytes_on_disk
        self.begun = time.time()
        self.measurements = Measurements(self.version, self.platform, self.variant, self._costs)
        self.lane = Lane(engine, model.costs, runners, self.measurements, max_batch_rows=max_batch_rows)
        self.cache = CachedLane(self.lane, cache_bytes, self.measurements, time.perf_counter) if cache_bytes else None
        # On every answer, so made once.
        self.header_lines = header_lines(version_headers(self.version))
        self._folder = model.folder

    @property
    def version(self) -> ServedVersion:
        """Which version it is."""
        return self.predictor.version

    def submit(
        self, inputs: Arrays, rows: int, done: Done, terms: Terms = WHENEVER, *, gone: Callable[[], bool] | None = None
    ) -> Ticket | None:
        """As `Lane.submit`, or from the cache: then `done` has been called, and there is no ticket."""
        return (self.cache or self.lane).submit(inputs, rows, done, terms, gone=gone)

    def ask(self, inputs: Arrays, rows: int, terms: Terms = WHENEVER) -> "asyncio.Future[Arrays]":
        """`submit` for coroutines; see `windlass_infer.lanes.asking`."""
        return ask(self.submit, inputs, rows, terms)

    async def close(self) -> None:
        """Answer what is queued, then let go of the engine and of its files."""
        await self.lane.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        log.info("let go of version %d of model '%s'", self.version.number, self.version.model)

    def _costs(self) -> tuple[float, float]:
        costs = self.lane.costs
        return costs.seconds_per_row, costs.seconds_per_batch


def version_headers(version: ServedVersion) -> dict[str, str]:
    """Headers that say which version answers."""
    return {MODEL_VERSION_HEADER: str(version.number), MODEL_DIGEST_HEADER: version.digest}
