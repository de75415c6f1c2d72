"""The door for inference: POST requests from their bytes to their bytes, as plain ASGI in front of the router.

It takes every request; those that came whole in one read and ask for nothing unusual go past it, by `short_way.py`. Ids,
measurements and the log of failures are those of all services: it stands behind `windlass_core.serving.RequestMiddleware`.
Knows no protocol (`questions.py`) and no queue (`lanes`).
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from windlass_core.serving import accept_any_size
from windlass_infer.bodies.choice import takes_long
from windlass_infer.bodies.compression import COMPRESS_FROM_BYTES, compressed
from windlass_infer.engine import Arrays
from windlass_infer.errors import MethodNotAllowed
from windlass_infer.exchange import Route, early_terms, own_seconds, refusal, terms_of
from windlass_infer.intake import Intake, Slot
from windlass_infer.lanes.terms import Terms
from windlass_infer.lingering import Incoming, answer
from windlass_infer.paths import Paths
from windlass_infer.protocol import Encoded
from windlass_infer.questions import Question
from windlass_infer.service import Service
from windlass_infer.serving import MODEL_VERSION_HEADER, Serving, version_headers
from windlass_infer.tracing import TRACE_RESPONSE_HEADER, Tracing

# A request that has waited so long is watched: when its client goes away, it leaves the queue. Watching costs more than the
# whole of a request to a small model, so those that are answered sooner are not watched.
WATCH_AFTER_SECONDS = 0.1
# The status of a request whose client went away before the answer, in traces; there is no official one.
CLIENT_GONE = 499


class Door:
    """ASGI middleware that answers inference requests and passes everything else on."""

    def __init__(self, app: ASGIApp, *, service: Service, intake: Intake, paths: Paths, tracing: Tracing) -> None:
        self._app = app
        self._service = service
        self._intake = intake
        self._paths = paths
        self._tracing = tracing
        self._large = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        route = self._paths.routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        accept_any_size(Request(scope))  # the intake has the bound, and a sentence for it in each protocol
        incoming = Incoming(scope, receive)
        trace = self._tracing.begin(dict(scope["headers"]), route.path)
        try:
            response = await self._respond(route, scope, incoming)
        except ClientDisconnect:
            if trace is not None:
                trace.end(CLIENT_GONE, route.name, "")
            raise
        if trace is not None:
            trace.end(response.status_code, route.name, response.headers.get(MODEL_VERSION_HEADER, ""))
            response.headers[TRACE_RESPONSE_HEADER] = trace.response
        await answer(response, scope, incoming, send)

    async def _respond(self, route: Route, scope: Scope, receive: Receive) -> Response:
        serving: Serving | None = None
        received = time.perf_counter()
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("inference is asked for by POST")
            serving = self._service.lookup(route.name, route.version)
            encoded = await self._answer(route, serving, scope, receive, received)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller is answered
            if serving is not None:
                serving.measurements.failed.add(time.perf_counter() - received)
            return refusal(error, route, serving)
        serving.measurements.request_seconds.observe(time.perf_counter() - received)
        return Response(encoded.body, headers={**encoded.headers, **version_headers(serving.version)})

    async def _answer(self, route: Route, serving: Serving, scope: Scope, receive: Receive, received: float) -> Encoded:
        headers = dict(scope["headers"])
        early = early_terms(own_seconds(headers), lambda: received, self._service.spec.slo_p99_seconds)
        serving.lane.refuse_early(early.deadline, received)
        with self._intake.enter(serving.measurements.shed) as slot:
            body = await slot.read(scope, receive)
            if takes_long(body, headers):
                return await self._answer_large(route, serving, body, headers, receive, slot, early, received)
            question = route.read(serving.predictor, body, headers)
            encoded = question.answer(await _outputs(serving, question, terms_of(early, question, lambda: received), receive))
            if question.coding and len(encoded.body) >= COMPRESS_FROM_BYTES:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._large, compressed, encoded, question.coding)
            return encoded

    async def _answer_large(
        self,
        route: Route,
        serving: Serving,
        body: bytes,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        slot: Slot,
        early: Terms,
        received: float,
    ) -> Encoded:
        """The same, reading and writing on a thread of their own: parsing stops the others while it lasts, but what follows it
        need not. One at a time, because what a body becomes while it is read takes several times its memory."""
        loop = asyncio.get_running_loop()
        question = await loop.run_in_executor(self._large, route.read, serving.predictor, body, headers)
        slot.hold(question.held_bytes)
        outputs = await _outputs(serving, question, terms_of(early, question, lambda: received), receive)
        return await loop.run_in_executor(self._large, written, question, outputs)


def written(question: Question, outputs: Arrays) -> Encoded:
    """The answer, packed where the caller takes it so and it is large."""
    encoded = question.answer(outputs)
    if question.coding and len(encoded.body) >= COMPRESS_FROM_BYTES:
        return compressed(encoded, question.coding)
    return encoded


async def _outputs(serving: Serving, question: Question, terms: Terms, receive: Receive) -> Arrays:
    """The engine's outputs; ClientDisconnect when the client leaves while it waits."""
    watcher: asyncio.Task[None] | None = None
    future = serving.ask(question.inputs, question.rows, terms)

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
