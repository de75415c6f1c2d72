"""The life of the one model that this process serves: loading, serving, draining, or failed.

Loading runs on a thread beside the event loop, so that probes are answered while the store is slow or away. Knows no routes and
no protocol: `app.py` asks it whether it is ready, and for the model.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from prometheus_client import REGISTRY, CollectorRegistry

from windlass_core.contracts import InferServe
from windlass_core.errors import Unavailable, WindlassError
from windlass_core.store import Store
from windlass_infer.batcher import Batcher
from windlass_infer.engines.failures import MODEL_LOAD_FAILED
from windlass_infer.loader import LoadedModel, load_patient
from windlass_infer.metrics import Measurements
from windlass_infer.predictor import Predictor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """What answers requests."""

    predictor: Predictor
    batcher: Batcher
    measurements: Measurements
    platform: str


class Service:
    """The model of this process."""

    def __init__(self, spec: InferServe, open_store: Callable[[], Store], *, registry: CollectorRegistry = REGISTRY) -> None:
        self.spec = spec
        self._registry = registry
        self.failure: WindlassError | None = None
        self._open_store = open_store
        self._serving: Serving | None = None
        self._waiting_for = f"version {spec.model.version} of model '{spec.model.name}' is being read from the store"
        self._draining = False

    @property
    def loaded(self) -> Serving | None:
        """What answers requests; None until the model is loaded."""
        return self._serving

    @property
    def serving(self) -> Serving:
        """What answers requests. Raises Unavailable, saying why, until the model is loaded."""
        if self._serving is None:
            raise Unavailable(self._waiting_for, reason="NotReady")
        return self._serving

    def why_not_ready(self) -> str | None:
        """None when new requests should come here, else a sentence."""
        if self._draining:
            return "this server is stopping"
        return None if self._serving else self._waiting_for

    def drain(self) -> None:
        """New requests should go elsewhere from now on; those that come all the same are answered."""
        self._draining = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the model while the block runs; at its end answer what is queued, then let the engine go."""
        loop = asyncio.get_running_loop()
        # A daemon, because a store that hangs must not keep a process that was told to stop.
        Thread(target=self._load, args=(loop,), name="loader", daemon=True).start()
        yield
        if self._serving:
            await self._serving.batcher.close()

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            folder = Path(tempfile.mkdtemp(prefix="windlass-model-"))
            loaded = load_patient(self.spec, self._open_store, folder, say=self._say)
            measurements = Measurements.register(loaded.predictor.version, loaded.engine.platform, self._registry)
        except WindlassError as error:
            self.failure = error
        except Exception as error:
            log.exception("loading failed")
            self.failure = WindlassError(f"loading failed: {type(error).__name__}", reason=MODEL_LOAD_FAILED)
        else:
            with suppress(RuntimeError):  # told to stop while loading: the loop is closed
                loop.call_soon_threadsafe(self._begin, loaded, measurements)

    def _begin(self, loaded: LoadedModel, measurements: Measurements) -> None:
        batcher = Batcher(loaded.engine, measurements)
        self._serving = Serving(loaded.predictor, batcher, measurements, loaded.engine.platform)

    def _say(self, sentence: str) -> None:
        self._waiting_for = sentence
