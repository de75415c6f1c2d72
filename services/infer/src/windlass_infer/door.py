"""The door for inference: POST requests from their bytes to their bytes, as plain ASGI in front of the router.

It costs 55 microseconds of CPU less than a FastAPI route, more than a small model takes to compute; everything else the service
answers goes through the router. Ids, measurements and the log of failures are those of all services: the door stands behind
`windlass_core.serving.RequestMiddleware`. Knows no protocol (`questions.py`) and no queue (`batcher.py`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from windlass_core.errors import WindlassError
from windlass_core.serving import json_response, problem_response
from windlass_infer.batcher import RETRY_AFTER_SECONDS
from windlass_infer.bodies.choice import takes_long
from windlass_infer.bodies.compression import COMPRESS_FROM_BYTES, compressed
from windlass_infer.engine import Arrays
from windlass_infer.errors import MethodNotAllowed, Overloaded
from windlass_infer.intake import Intake, Slot
from windlass_infer.protocol import Encoded
from windlass_infer.questions import Question, Read, read_infer, read_predict
from windlass_infer.service import Service, Serving

# A request that has waited so long is watched: when its client goes away, it leaves the queue. Watching costs more than the
# whole of a request to a small model, so those that are answered sooner are not watched.
WATCH_AFTER_SECONDS = 0.1

MODEL_VERSION_HEADER = "X-Model-Version"
MODEL_DIGEST_HEADER = "X-Model-Digest"

_RETRY_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """One path of the door; `path` is the label of its measurements."""

    path: str
    read: Read
    refuse: Callable[[WindlassError], Response]


def refuse_v2(error: WindlassError) -> Response:
    """An error as the V2 protocol has it."""
    return json_response({"error": error.message}, error.http_status)


def routes(name: str, version: int) -> list[Route]:
    """The paths under which a version is asked."""
    return [
        Route(f"/v1/models/{name}:predict", read_predict, problem_response),
        Route(f"/v2/models/{name}/infer", read_infer, refuse_v2),
        Route(f"/v2/models/{name}/versions/{version}/infer", read_infer, refuse_v2),
    ]


class Door:
    """ASGI middleware that answers inference requests and passes everything else on."""

    def __init__(self, app: ASGIApp, *, service: Service, intake: Intake) -> None:
        self._app = app
        self._service = service
        self._intake = intake
        self._large = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies")
        self._routes = {route.path: route for route in routes(service.spec.name, service.spec.model.version)}
        # The version is in every answer, also in one that refuses: it is the spec's, and no other is ever served.
        self._version_headers = {
            MODEL_VERSION_HEADER: str(service.spec.model.version),
            MODEL_DIGEST_HEADER: service.spec.model.digest,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        response = await self._respond(route, scope, receive)
        await response(scope, receive, send)

    async def _respond(self, route: Route, scope: Scope, receive: Receive) -> Response:
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("inference is asked for by POST")
            encoded = await self._answer(route, scope, receive)
            return Response(encoded.body, headers={**encoded.headers, **self._version_headers})
        except ClientDisconnect:
            raise
        except WindlassError as error:
            refusal = error
        except Exception:
            log.exception("unexpected error", extra={"path": scope["path"]})
            refusal = WindlassError("an error that was not foreseen; the service's log tells more under this request's id")
        if isinstance(refusal, Overloaded) and self._service.loaded:
            self._service.loaded.measurements.shed.inc()
        response = route.refuse(refusal)
        response.headers.update(self._version_headers)
        if refusal.http_status in _RETRY_LATER:
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if isinstance(refusal, MethodNotAllowed):
            response.headers["Allow"] = "POST"
        return response

    async def _answer(self, route: Route, scope: Scope, receive: Receive) -> Encoded:
        serving = self._service.serving
        slot = self._intake.enter()
        try:
            body = await slot.read(scope, receive)
            headers = dict(scope["headers"])
            if takes_long(body, headers):
                return await self._answer_large(route, serving, body, headers, receive, slot)
            question = route.read(serving.predictor, body, headers)
            encoded = question.answer(await _outputs(serving.batcher.submit(question.inputs, question.rows), receive))
            if question.coding and len(encoded.body) >= COMPRESS_FROM_BYTES:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._large, compressed, encoded, question.coding)
            return encoded
        finally:
            slot.leave()

    async def _answer_large(
        self, route: Route, serving: Serving, body: bytes, headers: Mapping[bytes, bytes], receive: Receive, slot: Slot
    ) -> Encoded:
        """The same, reading and writing on a thread of their own: parsing stops the others while it lasts, but what follows it
        need not. One at a time, because what a body becomes while it is read takes several times its memory."""
        loop = asyncio.get_running_loop()
        question = await loop.run_in_executor(self._large, route.read, serving.predictor, body, headers)
        slot.hold(question.held_bytes)
        outputs = await _outputs(serving.batcher.submit(question.inputs, question.rows), receive)
        return await loop.run_in_executor(self._large, _written, question, outputs)


def _written(question: Question, outputs: Arrays) -> Encoded:
    encoded = question.answer(outputs)
    if question.coding and len(encoded.body) >= COMPRESS_FROM_BYTES:
        return compressed(encoded, question.coding)
    return encoded


async def _outputs(future: "asyncio.Future[Arrays]", receive: Receive) -> Arrays:
    """The engine's outputs; ClientDisconnect when the client leaves while it waits."""
    watcher: asyncio.Task[None] | None = None

    def watch() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(_cancel_when_gone(future, receive))

    timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, watch)
    try:
        return await future
    except asyncio.CancelledError:
        if watcher is not None and watcher.done():
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


async def _cancel_when_gone(future: "asyncio.Future[Arrays]", receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    future.cancel()
