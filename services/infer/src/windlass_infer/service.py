"""The life of this process's models: the one of its spec is loaded, serves, is drained, or has failed; others come and go.

Loading runs on a thread beside the event loop, so that probes are answered while the store is slow or away. Knows no routes and
no protocol: `app.py` asks it whether it is ready, the doors ask it for a version.
"""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Thread

from prometheus_client import REGISTRY, CollectorRegistry

from windlass_core.contracts import InferServe
from windlass_core.errors import NotFound, Unavailable, WindlassError
from windlass_core.server import settle_memory
from windlass_core.store import Store
from windlass_infer.engines.failures import MODEL_LOAD_FAILED
from windlass_infer.lanes.runners import Runners
from windlass_infer.loader import load_patient
from windlass_infer.metrics import Measurements, ServiceMetrics
from windlass_infer.scheduling.queue import MAX_BATCH_ROWS
from windlass_infer.serving import Serving, TimedModel, timed
from windlass_infer.table import Table

# Requests in flight have ended by then, or have been given up; what is left is the run of one batch.
CLOSE_SECONDS = 10.0
# How often the event loop's own work is counted into the load.
LOOP_COUNTED_SECONDS = 1.0

log = logging.getLogger(__name__)


class Service:
    """The models of this process.

    Attributes:
        spec: what it was started with.
        table: what is loaded.
        failure: why the model of the spec can never be served.
        waits_for_store: whether the store did not answer when it was asked for the model of the spec.
        begun: whether it has begun to answer; from then on only loads and unloads change what is loaded.
    """

    def __init__(self, spec: InferServe, open_store: Callable[[], Store], *, registry: CollectorRegistry = REGISTRY) -> None:
        self.spec = spec
        self.open_store = open_store
        self.table = Table(self._changed)
        self.failure: WindlassError | None = None
        self.waits_for_store = False
        self.begun = False
        self._first: Callable[[TimedModel], Awaitable[list[TimedModel]]] = _alone
        self._beginning: asyncio.Task[None] | None = None
        self._registry = registry
        self._listeners: list[Callable[[], None]] = []
        self._runners: Runners | None = None
        self._waiting_for = f"version {spec.model.version} of model '{spec.model.name}' is being read from the store"
        self._draining = False
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def loaded(self) -> Serving | None:
        """What answers for the model of the spec; None until it is loaded."""
        model = self.table.model(self.spec.name)
        return model.current if model else None

    @property
    def serving(self) -> Serving:
        """What answers for the model of the spec. Raises Unavailable, saying why, until it is loaded."""
        return self.lookup(self.spec.name)

    def lookup(self, name: str, version: str | None = None) -> Serving:
        """What answers for a name, or for one version of it.

        Raises:
            NotFound: there is no such model here, or no such version of it.
            Unavailable: it is the model of the spec, which is not loaded yet.
        """
        try:
            return self.table.lookup(name, version)
        except NotFound:
            if name == self.spec.name and self.loaded is None and version in (None, str(self.spec.model.version)):
                raise Unavailable(self._waiting_for, reason="NotReady") from None
            raise

    def why_not_ready(self) -> str | None:
        """None when new requests should come here, else a sentence."""
        if self._draining:
            return "this server is stopping"
        return None if self.loaded else self._waiting_for

    def why_not_alive(self) -> str | None:
        """None when the engine's thread does its work, else a sentence; only a restart helps then."""
        seconds = self._runners.thread.hanging_seconds(time.perf_counter()) if self._runners else 0.0
        return f"the engine has not come back from a batch for {seconds:.0f} s" if seconds else None

    def drain(self) -> None:
        """New requests should go elsewhere from now on; those that come all the same are answered."""
        self._draining = True

    def begin_with(self, first: Callable[[TimedModel], Awaitable[list[TimedModel]]]) -> None:
        """Have `first` say, when the model of the spec is there, with which models to begin; call it before `running`."""
        self._first = first

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever what is loaded has changed, on the event loop."""
        self._listeners.append(listener)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the model of the spec while the block runs; at its end answer what is queued, then let the engines go."""
        loop = asyncio.get_running_loop()
        self._runners = runners = Runners.start()
        metrics = ServiceMetrics(self._measurements, self._gauges, self._registry)
        counting = asyncio.create_task(_count_loop(runners))
        # A daemon, because a store that hangs must not keep a process that was told to stop.
        Thread(target=self._load, args=(loop,), name="loader", daemon=True).start()
        try:
            yield
        finally:
            counting.cancel()
            if self._beginning is not None:
                self._beginning.cancel()
            for serving in self.table.servings:
                self._close(serving)
            if self._closing:
                # An engine that hangs must not keep the process; its thread is a daemon.
                await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)
            if not self._closing:
                await runners.thread.close()
            metrics.close()

    def install(self, model: TimedModel) -> Serving:
        """Let a loaded version answer from the next request on. Used on the event loop, while running."""
        assert self._runners is not None  # noqa: S101  # nothing is loaded before
        spec = self.spec
        rows = spec.max_batch_rows or MAX_BATCH_ROWS
        serving = Serving(model, self._runners, max_batch_rows=rows, cache_bytes=spec.cache_bytes)
        for dropped in self.table.install(serving):
            self._close(dropped)
        settle_memory()
        return serving

    def switch(self, serving: Serving) -> None:
        """Let a version that was kept answer again from the next request on."""
        for dropped in self.table.install(serving):
            self._close(dropped)

    def remove(self, name: str, version: int | None = None) -> None:
        """Forget a model, or one version that does not answer by default; its requests end first. Raises as the table does."""
        for serving in self.table.remove(name, version):
            self._close(serving)

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        folder = Path(tempfile.mkdtemp(prefix="windlass-model-"))
        try:
            loaded = load_patient(self.spec, self.open_store, folder, say=self._say)
            model = timed(loaded, self.spec.max_batch_rows or MAX_BATCH_ROWS, folder)
        except WindlassError as error:
            self._fail(error, folder)
        except Exception as error:
            log.exception("loading failed")
            self._fail(WindlassError(f"loading failed: {type(error).__name__}", reason=MODEL_LOAD_FAILED), folder)
        else:
            with suppress(RuntimeError):  # told to stop while loading: the loop is closed
                loop.call_soon_threadsafe(self._start, model)

    def _start(self, model: TimedModel) -> None:
        self._beginning = asyncio.create_task(self._begin(model))

    async def _begin(self, model: TimedModel) -> None:
        try:
            for first in await self._first(model):
                self.install(first)
            self.begun = True
        except Exception as error:
            log.exception("loading failed")
            self.failure = WindlassError(f"loading failed: {type(error).__name__}", reason=MODEL_LOAD_FAILED)

    def _fail(self, error: WindlassError, folder: Path) -> None:
        self.failure = error
        shutil.rmtree(folder, ignore_errors=True)

    def _close(self, serving: Serving) -> None:
        task = asyncio.create_task(serving.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _say(self, sentence: str) -> None:
        """What a patient loader waits for, which is the store."""
        self.waits_for_store = True
        self._waiting_for = sentence

    def _measurements(self) -> list[Measurements]:
        return [serving.measurements for serving in self.table.servings]

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        """Figures of the whole process."""
        runners = self._runners
        if runners is None:
            return
        now = time.perf_counter()
        if (ratio := runners.load.ratio(now)) is not None:
            yield "load_ratio", "Work offered, refused work too, over what this process can do.", ratio
        yield "drain_seconds", "Predicted seconds until all that waits is computed.", runners.backlog_seconds(now)
        kept = sum(serving.cache.kept_bytes for serving in self.table.servings if serving.cache)
        yield "cache_bytes", "Memory of the answers that are kept.", float(kept)


async def _alone(model: TimedModel) -> list[TimedModel]:
    return [model]


async def _count_loop(runners: Runners) -> None:
    """Count the CPU time of the event loop's thread, engines on it too."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(LOOP_COUNTED_SECONDS)
        used = time.thread_time()
        runners.load.loop_worked(used - before, time.perf_counter())
        before = used
