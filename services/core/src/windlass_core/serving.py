"""What every HTTP service of ours has alike: health, metrics, request ids, errors as RFC 9457 problems, a bounded end.

    create_app         a FastAPI application with /healthz, /readyz and /metrics, to which a service adds its routes
    serve              serves an application until SIGTERM, then drains
    BackgroundServer   serves an application in a thread, beside a run
    problem_response   an error as a problem, for code that answers without the application

Knows no store, no model and no data: services put those on top.
"""

import logging
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from windlass_core import __version__
from windlass_core.direct import Direct, DirectRequest, header_lines
from windlass_core.errors import WindlassError
from windlass_core.log import request_id as current_request_id
from windlass_core.processes.answers import ALIVE, METRICS, READY
from windlass_core.processes.collectors import as_registry, snapshot
from windlass_core.processes.crew import Crew
from windlass_core.requests import IN_FLIGHT, REQUEST_ID_HEADER, identify, observe
from windlass_core.server import BackgroundServer, serve

__all__ = ["BackgroundServer", "accept_any_size", "create_app", "json_response", "problem_response", "serve"]

PROBLEM_MEDIA_TYPE = "application/problem+json"
# A prediction of 100,000 rows of 64 numbers as JSON is about 64 MB; larger batches belong in several requests.
BODY_LIMIT_BYTES = 64 * 1024 * 1024

# Where in the ASGI scope an endpoint says that it streams its body and needs no limit.
_ANY_SIZE = "windlass.any_size"
_log = logging.getLogger(__name__)


def create_app(
    title: str,
    *,
    ready: Callable[[], str | None],
    lifespan: Lifespan[FastAPI] | None = None,
    description: str = "",
    body_limit: int = BODY_LIMIT_BYTES,
    crew: Crew | None = None,
    alive: Callable[[], str | None] = lambda: None,
) -> FastAPI:
    """An application with the routes and the manners that all services share.

    Args:
        title: name of the API in its OpenAPI document.
        ready: returns None when requests can be served, else a sentence that says why not.
        lifespan: opened before the first request, closed after the last.
        description: of the API, as Markdown.
        body_limit: bytes that a request body may have, unless its endpoint calls `accept_any_size`; more is answered by 413.
        crew: the processes that serve together; health and metrics are those of all. By default this one alone.
        alive: returns None, or a sentence when only a restart helps; then /healthz fails, so that the kubelet restarts the pod.
    """
    crew = crew or Crew()
    crew.answer(ALIVE, lambda _: alive())
    crew.answer(READY, lambda _: ready())
    crew.answer(METRICS, lambda _: snapshot(REGISTRY))
    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        lifespan=lifespan,
        middleware=[Middleware(RequestMiddleware, body_limit=body_limit)],
        # FastAPI asks for the three OpenTelemetry providers on every request, a tenth of its work for a small one, and nothing
        # here ever sets one: figures go to Prometheus, request ids to the log.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # The documentation pages load scripts from elsewhere; the OpenAPI document alone is enough for tools.
        docs_url=None,
        redoc_url=None,
    )
    app.state.direct = Direct(failed=_failed_direct)
    app.state.crew = crew
    app.add_exception_handler(WindlassError, _on_windlass_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)

    @app.get("/healthz", tags=["health"], summary="Whether the process lives")
    async def healthz() -> Response:
        why_not = await crew.why_not_alive()
        if why_not is None:
            return json_response({"status": "alive"})
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail=why_not, reason="NotAlive")

    @app.get("/readyz", tags=["health"], summary="Whether requests can be served")
    async def readyz() -> Response:
        why_not = await crew.why_not_ready()
        if why_not is None:
            return json_response({"status": "ready"})
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail=why_not, reason="NotReady")

    @app.get("/metrics", tags=["health"], summary="Prometheus metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(as_registry(await crew.metrics())), headers={"content-type": media_type})

    return app


def accept_any_size(request: Request) -> None:
    """Lift the limit on the body of this request; for endpoints that stream it and never hold it whole."""
    request.scope[_ANY_SIZE] = True


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON response; numpy arrays and scalars may stand in `content`."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def problem_response(error: WindlassError, request_id: str | None = None) -> Response:
    """An error of ours as an RFC 9457 problem.

    Args:
        error: its `http_status`, `message` and `reason` are shown.
        request_id: id of the request; by default the one that is being served.
    """
    return _problem(error.http_status, detail=error.message, reason=error.reason, request_id=request_id)


class RequestMiddleware:
    """Gives each request an id, a bound on its body, a measurement, and an answer even when its endpoint raises.

    Plain ASGI: Starlette's BaseHTTPMiddleware copies bodies through queues and hides disconnects.
    """

    def __init__(self, app: ASGIApp, *, body_limit: int) -> None:
        self._app = app
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id_ = identify(dict(scope["headers"]))
        token = current_request_id.set(id_)
        reply = _Reply(send, id_)
        started = time.perf_counter()
        IN_FLIGHT.count += 1
        try:
            await self._app(scope, _bounded(scope, receive, self._body_limit), reply.send)
        except ClientDisconnect:
            _log.info("the client went away", extra={"method": scope["method"], "path": scope["path"]})
        except Exception:
            _log.exception("unexpected error", extra={"method": scope["method"], "path": scope["path"]})
            if reply.status is not None:
                raise  # the response has begun: cutting the connection is the only way left to tell
            answer = _problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail=_INTERNAL_ERROR_SENTENCE, reason="InternalError")
            await answer(scope, receive, reply.send)
        finally:
            IN_FLIGHT.count -= 1
            route = getattr(scope.get("route"), "path", "none")
            observe(scope["method"], scope["path"], route, reply.status, time.perf_counter() - started)
            current_request_id.reset(token)


_INTERNAL_ERROR_SENTENCE = "an error that was not foreseen; the service's log tells more under this requestId"


class _Reply:
    """The sending side of one request: adds the request id and remembers the status."""

    def __init__(self, send: Send, id_: str) -> None:
        self._send = send
        self._header = (REQUEST_ID_HEADER.lower().encode(), id_.encode())
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)


def _bounded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """`receive`, refusing bodies beyond `limit` bytes by what they announce and by what they send."""
    announced = next((value for key, value in scope["headers"] if key == b"content-length"), b"0")
    seen = 0

    async def bounded_receive() -> Message:
        nonlocal seen
        if scope.get(_ANY_SIZE):
            return await receive()
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(limit)
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return bounded_receive


def _too_large(limit: int) -> HTTPException:
    # Of this type because FastAPI answers every other one, raised while it reads a body, as "error parsing the body".
    sentence = f"the body is larger than the {limit:,} bytes that this endpoint takes; send less in one request"
    return HTTPException(413, sentence, headers={"connection": "close"})


def _failed_direct(request: DirectRequest) -> tuple[int, bytes, bytes]:
    _log.exception("unexpected error", extra={"method": "POST", "path": request.head.path})
    answer = _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, detail=_INTERNAL_ERROR_SENTENCE, reason="InternalError", request_id=request.id
    )
    return answer.status_code, header_lines({"content-type": PROBLEM_MEDIA_TYPE}), bytes(answer.body)


async def _on_windlass_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, WindlassError)  # noqa: S101  (registered for this type alone)
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s", error.message, extra={"reason": error.reason}, exc_info=error)
    return problem_response(error)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for this type alone)
    reason = _REASONS.get(error.status_code) or "".join(filter(str.isalnum, HTTPStatus(error.status_code).phrase.title()))
    return _problem(error.status_code, detail=str(error.detail), reason=reason, headers=dict(error.headers or {}))


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (registered for this type alone)
    errors = [
        {"at": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
        for item in error.errors()[:_ERRORS_SHOWN]
    ]
    detail = "; ".join(f"{item['at']}: {item['message']}" for item in errors)
    return _problem(HTTPStatus.BAD_REQUEST, detail=detail, reason="BadRequest", errors=errors)


# A body that is wrong all over must not be answered by a larger one.
_ERRORS_SHOWN = 20
_REASONS = {404: "NotFound", 405: "MethodNotAllowed", 413: "BodyTooLarge"}


def _problem(
    status: int,
    *,
    detail: str,
    reason: str,
    request_id: str | None = None,
    errors: Sequence[dict[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    # RFC 9457: with type about:blank the title is the status's own phrase, and `reason` tells programs the rest.
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "reason": reason,
        "requestId": request_id or current_request_id.get(),
    }
    if errors:
        content["errors"] = list(errors)
    return Response(orjson.dumps(content), int(status), headers=headers, media_type=PROBLEM_MEDIA_TYPE)
