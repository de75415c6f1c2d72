"""The protocol's model repository extension: other versions and models, loaded and let go while the server serves.

    prepare   a version is read, opened and warmed beside those that answer, on a thread of its own; one load at a time
    commit    it answers from the next request on
    abort     it is let go again

In two steps, so that all processes of a pod change their version together or none does (`shared_repository.py`). A version that
was kept needs no load, so the way back takes no time. A version that fails to load leaves everything as it is; the reason is in
the answer and in the index. Off unless a token is set. Knows no HTTP.
"""

import asyncio
import hmac
import logging
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from windlass_core.contracts import InferServe, VersionReference
from windlass_core.errors import BadConfiguration, NotFound, Unavailable, WindlassError
from windlass_core.registry import Registry
from windlass_infer.errors import BadRequest, Overloaded, Unauthorized
from windlass_infer.loader import load
from windlass_infer.scheduling.queue import MAX_BATCH_ROWS
from windlass_infer.service import Service
from windlass_infer.serving import Serving, TimedModel, timed

TOKEN_VARIABLE = "WINDLASS_REPOSITORY_TOKEN"  # noqa: S105  # the name of a variable
TOKEN_FILE_VARIABLE = "WINDLASS_REPOSITORY_TOKEN_FILE"  # noqa: S105  # likewise
# Shorter ones could be guessed by asking.
LEAST_TOKEN_LENGTH = 16
# Loads that may wait for the one that runs: each holds a request, and by its turn what it asks for may be out of date.
MAX_WAITING_LOADS = 4

_KINDS = {int: "a whole number", str: "text", bool: "true or false"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadRequest:
    """What to load: a version of a Model, to answer under a name. `version` 0 is the newest."""

    name: str
    model: str
    version: int
    digest: str

    @classmethod
    def parse(cls, name: str, document: Any, spec: InferServe) -> "LoadRequest":
        """From the body of a load call: {"parameters": {"version": 3, "model": "digits", "digest": "sha256:..."}} or less.

        Raises:
            BadRequest: it is something else.
        """
        parameters = _parameters(document, {"version": int, "model": str, "digest": str})
        version = parameters.get("version", 0)
        if version < 0:
            raise BadRequest(f"the parameter version must be a number from 1 on, not {version}")
        model = parameters.get("model", spec.model.name if name == spec.name else name)
        return cls(name, model, version, parameters.get("digest", ""))


def unload_version(document: Any) -> int | None:
    """From the body of an unload call: {"parameters": {"version": 3}}, or none for the whole model. Raises BadRequest."""
    # What depends on a model is let go too, Triton's clients say: nothing here depends on another.
    version: int | None = _parameters(document, {"version": int, "unload_dependents": bool}).get("version")
    return version


def read_token(environment: Mapping[str, str]) -> str | None:
    """The token that opens the extension; None when there is none. Raises BadConfiguration for one that is no protection."""
    token = environment.get(TOKEN_VARIABLE, "")
    if file := environment.get(TOKEN_FILE_VARIABLE):
        try:
            token = Path(file).read_text().strip()
        except OSError as error:
            raise BadConfiguration(f"{TOKEN_FILE_VARIABLE} is '{file}', which cannot be read: {error.strerror}") from error
    if not token:
        return None
    if len(token) < LEAST_TOKEN_LENGTH:
        raise BadConfiguration(f"the token of the model repository must have at least {LEAST_TOKEN_LENGTH} characters")
    return token


def authorize(token: str | None, header: str | None) -> None:
    """Let a caller of the extension pass.

    Raises:
        NotFound: the extension is off.
        Unauthorized: the header is not `Bearer <token>`.
    """
    if token is None:
        raise NotFound(f"the model repository extension is off; it is on when {TOKEN_VARIABLE} or {TOKEN_FILE_VARIABLE} is set")
    scheme, _, given = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Unauthorized("the model repository takes calls with the header 'Authorization: Bearer <token>' only")


class Repository:
    """Loads and unloads for one process. Used on the event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._prepared: dict[int, TimedModel | Serving] = {}  # by who asked

    async def prepare(self, request: LoadRequest, by: int = 0) -> int:
        """Load a version, and hold it ready.

        Args:
            request: what to load.
            by: who asks; what he had prepared before, and not committed, is let go.

        Returns:
            The version's number.

        Raises:
            WindlassError: it cannot be served, and why.
            Overloaded: too many loads wait.
            Unavailable: the model of the spec is not loaded yet.
        """
        if not self._service.begun:
            raise Unavailable(self._service.why_not_ready() or "this server is starting", reason="NotReady")
        if self._waiting >= MAX_WAITING_LOADS:
            raise Overloaded(f"{self._waiting} loads wait already; try again when they are done", retry_after=10)
        self._waiting += 1
        try:
            async with self._turn:
                await self._abandon(by)
                prepared = self._prepared[by] = self._kept(request) or await self.read(request)
                return prepared.version.number
        finally:
            self._waiting -= 1

    def commit(self, by: int = 0) -> bool:
        """Let what was prepared answer from the next request on; False when nothing was."""
        prepared = self._prepared.pop(by, None)
        if isinstance(prepared, TimedModel):
            self._service.install(prepared)
        elif prepared is not None:
            self._service.switch(prepared)
        return prepared is not None

    def unload(self, name: str, version: int | None) -> None:
        """Let a model or a version go, when its requests have ended. Raises NotFound and Conflict."""
        self._service.remove(name, version)

    async def abort(self, by: int = 0) -> None:
        """Let go of what was prepared."""
        async with self._turn:
            await self._abandon(by)

    def _kept(self, request: LoadRequest) -> Serving | None:
        model = self._service.table.model(request.name)
        serving = model.version(request.version) if model and request.version else None
        if serving is None or serving.version.model != request.model:
            return None
        return serving if request.digest in ("", serving.version.digest) else None

    async def read(self, request: LoadRequest) -> TimedModel:
        """A version, ready to answer. Raises WindlassError when it cannot be served."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[TimedModel] = loop.create_future()
        self._service.table.begin(request.name, request.version)

        def settle(outcome: TimedModel | WindlassError) -> None:
            if isinstance(outcome, WindlassError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        def read() -> None:
            outcome = self._read(request)
            with suppress(RuntimeError):  # told to stop while loading: the loop is closed
                loop.call_soon_threadsafe(settle, outcome)

        # A daemon, because a store that hangs must not keep a process that was told to stop.
        Thread(target=read, name="loader", daemon=True).start()
        try:
            # The load goes on when its caller goes away: the next in turn must not find it half done.
            model = await asyncio.shield(future)
        except WindlassError as error:
            self._service.table.failed(request.name, request.version, error.message)
            raise
        self._service.table.ended(request.name)
        return model

    def _read(self, request: LoadRequest) -> TimedModel | WindlassError:
        """On the thread: the version, ready to answer, or why there is none."""
        folder = Path(tempfile.mkdtemp(prefix="windlass-model-"))
        spec = self._service.spec
        try:
            store = self._service.open_store()
            version = request.version or _newest(Registry(store, "models"), request.model)
            uri = f"store://models/{request.model}/{version}"
            reference = VersionReference(name=request.model, version=version, uri=uri, digest=request.digest)
            loaded = load(spec.model_copy(update={"name": request.name, "model": reference}), store, folder)
            return timed(loaded, spec.max_batch_rows or MAX_BATCH_ROWS, folder)
        except Exception as error:  # told to the caller, whatever it is
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, WindlassError):
                return error
            log.exception("loading failed")
            return WindlassError(f"loading failed: {type(error).__name__}", reason="ModelLoadFailed")

    async def _abandon(self, by: int) -> None:
        prepared = self._prepared.pop(by, None)
        if isinstance(prepared, TimedModel):
            await asyncio.to_thread(prepared.close)


def _newest(registry: Registry, model: str) -> int:
    versions = registry.versions(model)
    if not versions:
        raise NotFound(f"the store has no version of a model '{model}'")
    return versions[-1]


def _parameters(document: Any, known: Mapping[str, type]) -> dict[str, Any]:
    parameters = document.get("parameters", {}) if isinstance(document, dict) else None
    if not isinstance(parameters, dict):
        raise BadRequest('the body must be empty or {"parameters": {...}}')
    for key, value in parameters.items():
        if key not in known:
            raise BadRequest(f"the parameter '{key[:60]}' is unknown; there are: {', '.join(known)}")
        if type(value) is not known[key]:
            raise BadRequest(f"the parameter {key} must be {_KINDS[known[key]]}")
    return parameters
