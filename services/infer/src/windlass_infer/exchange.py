"""One inference request between a door and a version: when it must be answered, what is asked, what is answered or refused.

Shared by the doors (`door.py` for ASGI, `short_way.py` past it), which differ only in how bytes come and go.
Knows no queue and no connection.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from windlass_core.errors import WindlassError
from windlass_core.serving import json_response, problem_response
from windlass_infer.bodies.media import Headers
from windlass_infer.errors import BadRequest, MethodNotAllowed, Overloaded
from windlass_infer.lanes.terms import WHENEVER, Terms
from windlass_infer.questions import Question, Read, read_infer, read_predict
from windlass_infer.scheduling.queue import Priority
from windlass_infer.serving import Serving, version_headers

# Seconds, as a decimal, that the caller waits for the answer; counted from when the request arrived here.
REQUEST_TIMEOUT_HEADER = "Request-Timeout"
_REQUEST_TIMEOUT_KEY = REQUEST_TIMEOUT_HEADER.lower().encode()
_LEAST_RETRY_SECONDS = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """One path of the doors; `path` is the label of its measurements. `version` is None for the one that answers by default."""

    path: str
    name: str
    version: str | None
    read: Read
    refuse: Callable[[WindlassError, str | None], Response]


def refuse_v2(error: WindlassError, _request_id: str | None = None) -> Response:
    """An error as the V2 protocol has it."""
    return json_response({"error": error.message}, error.http_status)


def routes_of(name: str, version: int) -> list[Route]:
    """The paths under which a version is asked that answers by default."""
    return [
        Route(f"/v1/models/{name}:predict", name, None, read_predict, problem_response),
        Route(f"/v2/models/{name}/infer", name, None, read_infer, refuse_v2),
        route_of_version(name, version),
    ]


def route_of_version(name: str, version: int) -> Route:
    """The path under which one version is asked, whether it answers by default or not."""
    return Route(f"/v2/models/{name}/versions/{version}/infer", name, str(version), read_infer, refuse_v2)


def own_seconds(headers: Headers) -> float | None:
    """The time that the caller names in the head of a request, if any. Raises BadRequest for a time that is none.

    Args:
        headers: names in lower case.
    """
    given = headers.get(_REQUEST_TIMEOUT_KEY)
    return None if given is None else _seconds(given)


def early_terms(own: float | None, arrived: Callable[[], float], slo_seconds: float | None) -> Terms:
    """The terms as far as the head of a request tells.

    Args:
        own: seconds that the caller names.
        arrived: says when the request came, in seconds of `time.perf_counter`; asked only where there is a deadline.
        slo_seconds: the server's own bound.
    """
    return WHENEVER if own is None and slo_seconds is None else deadline_terms(arrived(), own, slo_seconds)


def deadline_terms(received: float, own_seconds: float | None, slo_seconds: float | None) -> Terms:
    """An answer within the seconds that the caller gives; where he gives none, within the server's."""
    if own_seconds is not None:
        return Terms(received + own_seconds, own_deadline=True)
    return Terms(None if slo_seconds is None else received + slo_seconds)


def terms_of(early: Terms, question: Question, arrived: Callable[[], float]) -> Terms:
    """The terms when the body is known: the earlier of the deadlines that the caller names, else the server's.

    Early ones are interactive, because no head says otherwise.
    """
    if question.timeout_seconds is None and not question.priority:
        return early
    priority = Priority.of(question.priority)
    if question.timeout_seconds is None:
        return replace(early, priority=priority)
    own = arrived() + question.timeout_seconds
    if early.own_deadline and early.deadline is not None:
        own = min(own, early.deadline)
    return Terms(own, own_deadline=True, priority=priority)


def refusal(error: Exception, route: Route, serving: Serving | None, request_id: str | None = None) -> Response:
    """What a caller is told instead of an answer. Raises ClientDisconnect again: nobody is there to be told."""
    if isinstance(error, ClientDisconnect):
        raise error
    if not isinstance(error, WindlassError):
        log.error("unexpected error", extra={"path": route.path}, exc_info=error)
        error = WindlassError("an error that was not foreseen; the service's log tells more under this request's id")
    response = route.refuse(error, request_id)
    if serving is not None:
        response.headers.update(version_headers(serving.version))
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = str(error.retry_after)
    elif error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_LEAST_RETRY_SECONDS)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = "POST"
    return response


def _seconds(text: bytes) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        shown = text[:40].decode("latin-1")
        raise BadRequest(f"{REQUEST_TIMEOUT_HEADER} must be a number of seconds above 0, not '{shown}'")
    return seconds
