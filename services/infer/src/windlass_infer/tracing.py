"""W3C trace context: the caller's trace goes on here, and back; spans are exported where OpenTelemetry is set up.

A request with a `traceparent` is answered with a `traceresponse` that names the same trace and our own span (W3C Trace Context
levels 1 and 2). With OTEL_EXPORTER_OTLP_ENDPOINT set, each inference also becomes a span, sent in batches by a thread of the
exporter's; OpenTelemetry is imported only then, and is an extra of the package (`windlass-infer[telemetry]`).
Knows no model and no queue.
"""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from windlass_infer.bodies.media import Headers

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACE_RESPONSE_HEADER = "traceresponse"
TRACE_PARENT_KEY = b"traceparent"
_SAMPLED = 1
# Version, trace, parent span, flags. Later versions may say more behind; what is all zeros is no id.
_TRACE_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's part of a trace."""

    trace_id: str
    span_id: str
    flags: int
    span: "Span | None" = None

    @property
    def response(self) -> str:
        """Value of the `traceresponse` header."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def end(self, status: int, model: str, version: str) -> None:
        """The request is answered."""
        if self.span is None:
            return
        self.span.set_attributes({"http.response.status_code": status, "windlass.model": model, "windlass.version": version})
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            from opentelemetry.trace import StatusCode

            self.span.set_status(StatusCode.ERROR)
        self.span.end()


class Tracing:
    """Begins a trace, or a part of one, for a request.

    Args:
        tracer: makes spans that are exported; None where only the caller's context is answered.
    """

    def __init__(self, tracer: "Tracer | None" = None) -> None:
        self._tracer = tracer

    @property
    def exports(self) -> bool:
        """Whether each request becomes a span."""
        return self._tracer is not None

    @classmethod
    def configured(cls, environment: Mapping[str, str], service: str) -> "Tracing":
        """By the variables of OpenTelemetry; without an endpoint, or without its packages, no spans are made."""
        if not any(environment.get(variable) for variable in ENDPOINT_VARIABLES):
            return cls()
        try:
            return cls(_exporting_tracer(service))
        except ImportError as error:
            log.warning("no spans are exported, because %s is not installed: install windlass-infer[telemetry]", error.name)
            return cls()

    def begin(self, headers: Headers, route: str) -> Trace | None:
        """The request's part of a trace; None when the caller has none and nothing is exported."""
        given = headers.get(TRACE_PARENT_KEY)
        if given is None and self._tracer is None:
            return None
        parent = _TRACE_PARENT.fullmatch(given) if given else None
        if self._tracer is not None:
            return _exported(self._tracer, parent, route)
        if parent is None:
            return None
        return Trace(parent[1].decode(), secrets.token_hex(8), int(parent[3], 16) & _SAMPLED)


def _exported(tracer: "Tracer", parent: re.Match[bytes] | None, route: str) -> Trace:
    from opentelemetry import trace

    context = None
    if parent is not None:
        flags = trace.TraceFlags(int(parent[3], 16))
        above = trace.SpanContext(int(parent[1], 16), int(parent[2], 16), is_remote=True, trace_flags=flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(above))
    span = tracer.start_span(
        f"POST {route}",
        context,
        kind=trace.SpanKind.SERVER,
        attributes={"http.request.method": "POST", "http.route": route},
        start_time=time.time_ns(),
    )
    own = span.get_span_context()
    return Trace(f"{own.trace_id:032x}", f"{own.span_id:016x}", int(own.trace_flags), span)


def _exporting_tracer(service: str) -> "Tracer":
    """A tracer whose spans go to the endpoint of the environment, in batches; sampling is by OTEL_TRACES_SAMPLER."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("windlass_infer")
