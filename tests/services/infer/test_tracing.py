"""Trace context in and out, and spans where OpenTelemetry is set up: by a real server and a collector on loopback."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from windlass_infer.tracing import Tracing

GOOD = {"instances": [[1, 2, 9]]}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        (f"00-{TRACE}-{PARENT}-01", "01"),
        (f"00-{TRACE}-{PARENT}-00", "00"),
        (f"01-{TRACE}-{PARENT}-01-more", "01"),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        ("00-4bf9", None),
        ("", None),
    ],
    ids=[
        "a sampled trace",
        "one that is not sampled",
        "a later version of the header",
        "a version that is none",
        "no trace id",
        "no parent id",
        "upper case",
        "cut off",
        "empty",
    ],
)
def test_a_callers_trace_is_answered_with_a_span_of_our_own(given: str, answered: str | None) -> None:
    trace = Tracing().begin({b"traceparent": given.encode()}, "/x")
    if answered is None:
        assert trace is None
        return
    assert trace is not None
    version, trace_id, span_id, flags = trace.response.split("-")
    assert (version, trace_id, flags) == ("00", TRACE, answered)
    assert len(span_id) == 16
    assert span_id != PARENT


def test_without_a_trace_there_is_none(server: Any) -> None:
    with server.client() as client:
        assert "traceresponse" not in client.post(server.predict_path, json=GOOD).headers


@pytest.mark.parametrize("body", [GOOD, {}], ids=["an answer", "a refusal"])
def test_both_ways_through_the_server_answer_the_trace(server: Any, body: Any) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with server.client(headers=headers) as client:
        short = client.post(server.predict_path, json=body)
        long = client.post(server.predict_path, json=body, headers={"Expect": "100-continue"})
        assert [answer.headers["traceresponse"].split("-")[1] for answer in (short, long)] == [TRACE] * 2


class Collector:
    """What an OpenTelemetry collector takes over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    raise AssertionError("not asked for")
                sent = ExportTraceServiceRequest.FromString(body)
                outer.spans += [span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    thread = threading.Thread(target=running.server.serve_forever)
    thread.start()
    yield running
    running.server.shutdown()
    thread.join(10)
    running.server.server_close()


def test_spans_are_exported_where_an_endpoint_is_set(
    shelf: Any, examples: dict[str, Any], serve: Callable[..., Any], wait: Callable[..., None], collector: Collector
) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"]))
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with serve(spec, shelf.environment, **variables) as server, server.client() as client:
        answer = client.post(server.predict_path, json=GOOD, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        client.post(server.predict_path, json={})
        wait(lambda: len(collector.spans) >= 2, "both spans have come")
    ours, refused = collector.spans[:2]
    assert (ours.trace_id.hex(), ours.parent_span_id.hex()) == (TRACE, PARENT)
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{ours.span_id.hex()}-01"
    assert ours.name == f"POST {server.predict_path}"
    assert {pair.key: pair.value for pair in ours.attributes}["windlass.version"].string_value == "1"
    assert {pair.key: pair.value for pair in refused.attributes}["http.response.status_code"].int_value == 400


def test_without_its_packages_the_server_serves_without_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    tracing = Tracing.configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "service")
    assert tracing.begin({}, "/x") is None
