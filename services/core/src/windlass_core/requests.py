"""What is known of every HTTP request: an id, how long it took, how many are being served, a line in the log.

Made to cost little: a small model answers in less time than a fresh UUID and a lookup of labels take. Knows no framework;
`serving.py` calls it for requests through ASGI, `direct.py` for those that go the short way.
"""

import itertools
import logging
import os
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from prometheus_client import REGISTRY, Gauge

from windlass_core.histograms import Histograms

REQUEST_ID_HEADER = "X-Request-Id"
# Ids of callers beyond this, or with characters that could forge a log line, are replaced by one of ours.
REQUEST_ID_MAX_LENGTH = 128

ACCESS_LOG_VARIABLE = "WINDLASS_ACCESS_LOG_EVERY"
# A line takes 25 us, as long as the whole of a small request; one of a thousand costs nothing, and is one a second at the rates
# where it matters. Failures are all logged, but refusals for too much load only so: they must cost less than answers.
LOGGED_EVERY = 1000

REQUEST_SECONDS = Histograms(
    "windlass_http_request_duration_seconds",
    "Time from a request's headers to the end of its response, by route.",
    ["method", "route", "status"],
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
REGISTRY.register(REQUEST_SECONDS)
REQUESTS_IN_FLIGHT = Gauge("windlass_http_requests_in_flight", "Requests that are being served now.")

# To ask an enumeration for a member takes a third of a microsecond, and these are asked for at each request.
_BAD_REQUEST = int(HTTPStatus.BAD_REQUEST)
TOO_MANY_REQUESTS = int(HTTPStatus.TOO_MANY_REQUESTS)

_ID_HEADER = REQUEST_ID_HEADER.lower().encode()
# Ids of ours are a random word of this process and a number: as unique as a UUID, without asking the kernel each time.
_PROCESS_WORD = secrets.token_hex(8)
_numbers = itertools.count()
_log = logging.getLogger("windlass_core.serving")


class LogSample:
    """Which requests that did not fail are logged: one of so many, to show what is asked and how long it takes."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._seen = 0

    @classmethod
    def configured(cls, environment: Mapping[str, str]) -> "LogSample":
        """By WINDLASS_ACCESS_LOG_EVERY: 1 logs every request, 0 none that succeeded."""
        given = environment.get(ACCESS_LOG_VARIABLE, "")
        if given and not (given.isascii() and given.isdecimal()):
            _log.warning("%s is '%s', which is no whole number; using %d", ACCESS_LOG_VARIABLE, given, LOGGED_EVERY)
            given = ""
        return cls(int(given or LOGGED_EVERY))

    def takes(self) -> bool:
        """Whether the next one is logged."""
        self._seen += 1
        return self._every > 0 and self._seen % self._every == 0


_SAMPLE = LogSample.configured(os.environ)


class InFlight:
    """Counts the requests that are being served, on one event loop; the gauge asks for the number when it is scraped."""

    def __init__(self) -> None:
        self.count = 0
        REQUESTS_IN_FLIGHT.set_function(lambda: self.count)


IN_FLIGHT = InFlight()


def identify(headers: Mapping[bytes, bytes]) -> str:
    """The id of a request: the caller's own where it is usable, else a new one.

    Args:
        headers: names in lower case.
    """
    if value := headers.get(_ID_HEADER):
        given = value.decode("latin-1")
        if len(given) <= REQUEST_ID_MAX_LENGTH and all("!" <= character <= "~" for character in given):
            return given
    return f"{_PROCESS_WORD}{next(_numbers):016x}"


def observe(method: str, path: str, route: str, status: int | None, seconds: float) -> None:
    """Measure a request that is over, and log it.

    Args:
        method: of HTTP.
        path: as it was asked for; for the log alone.
        route: its template, a label of the measurement; a path would make labels without bound.
        status: of HTTP; None when the client went away before the answer.
        seconds: from its headers to the end of its answer.
    """
    label = "disconnected" if status is None else str(status)
    # Bounded by what the labels can be: methods, routes and statuses are few.
    REQUEST_SECONDS.of((method, route, label)).observe(seconds)
    level = logging.INFO
    if status is not None and (status < _BAD_REQUEST or status == TOO_MANY_REQUESTS) and not _SAMPLE.takes():
        level = logging.DEBUG
    if _log.isEnabledFor(level):
        fields = {"method": method, "path": path, "status": label, "seconds": round(seconds, 6)}
        _log.log(level, "request", extra=fields)
