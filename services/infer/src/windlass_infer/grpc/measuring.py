"""What every call has: a measurement, and the id of its request in the log."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from grpc import StatusCode
from prometheus_client import Histogram

from windlass_core.log import request_id

REQUEST_ID_KEY = "x-request-id"
# Longer ids are replaced by one of ours, as over HTTP.
REQUEST_ID_MAX_LENGTH = 128

CALL_SECONDS = Histogram(
    "windlass_grpc_call_duration_seconds",
    "Time from a call's message to its answer, by call and status code.",
    ["call", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

log = logging.getLogger(__name__)


class Measured:
    """One kind of call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._answered = CALL_SECONDS.labels(name, StatusCode.OK.name)

    @contextmanager
    def call(self, metadata: Mapping[str, str | bytes]) -> Iterator[Callable[[StatusCode], None]]:
        """Measure the block as one call; it says by what is given how it ended, if not well.

        A block that is cancelled counts as CANCELLED: its deadline was over, or its client went away.
        """
        given = metadata.get(REQUEST_ID_KEY, "")
        usable = isinstance(given, str) and 0 < len(given) <= REQUEST_ID_MAX_LENGTH and given.isprintable()
        token = request_id.set(str(given) if usable else uuid.uuid4().hex)
        code: StatusCode | None = None

        def ended(how: StatusCode) -> None:
            nonlocal code
            code = how

        began = time.perf_counter()
        try:
            yield ended
            code = StatusCode.OK
        finally:
            seconds = time.perf_counter() - began
            if code is StatusCode.OK:
                self._answered.observe(seconds)
            else:
                code = code or StatusCode.CANCELLED
                CALL_SECONDS.labels(self.name, code.name).observe(seconds)
                log.info("call", extra={"call": self.name, "code": code.name, "seconds": round(seconds, 6)})
            request_id.reset(token)
