"""Inference past ASGI: a request that came whole in one read, from its bytes to its bytes without a task or a message.

Everything else takes the long way: what the server does not hand over here, and what is handed back because reading its body
would stop the others. Runs on the event loop only; answers come when the lane has them. Knows no protocol and no queue.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.responses import Response

from windlass_core.direct import DirectRequest, header_lines
from windlass_core.heads import Head
from windlass_infer.bodies.choice import LARGE_BODY_BYTES, takes_long
from windlass_infer.bodies.compression import COMPRESS_FROM_BYTES, compressed
from windlass_infer.errors import BadRequest, Overloaded
from windlass_infer.exchange import Route, deadline_terms, own_seconds, refusal, refuse_v2, terms_of
from windlass_infer.intake import Intake, Slot
from windlass_infer.lanes.computing import Outcome
from windlass_infer.lanes.terms import WHENEVER, Terms
from windlass_infer.protocol import Encoded
from windlass_infer.questions import Question
from windlass_infer.service import Service
from windlass_infer.serving import Serving
from windlass_infer.tracing import TRACE_RESPONSE_HEADER, Trace, Tracing

# Refusals that are kept: a few for each version. Those with figures of one request push one another out.
MAX_KEPT_REFUSALS = 256
# What the server adds to every answer by itself.
_ADDED_BY_SERVER = frozenset({"content-length", "date", "x-request-id"})


@dataclass(frozen=True, slots=True)
class _Note:
    """What is read in a head, once for all requests that begin with it.

    Attributes:
        long: bodies behind it take long to read.
        own_seconds: the time that the caller names.
        wrong: why that is none.
    """

    long: bool
    own_seconds: float | None = None
    wrong: BadRequest | None = None


def _noted(head: Head) -> _Note:
    long = takes_long(b"", head.fields)
    try:
        note = _Note(long, own_seconds(head.fields))
    except BadRequest as error:
        note = _Note(long, wrong=error)
    head.note = note
    return note


class ShortWay:
    """Takes requests that the server hands over."""

    def __init__(self, service: Service, intake: Intake, tracing: Tracing) -> None:
        self._service = service
        self._tracing = tracing
        self._intake = intake
        self._packing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="packing")
        self._lines: dict[str, bytes] = {}  # of content types
        self._refused: list[tuple[_Exchange, Exception]] = []
        self._refusals: dict[tuple[bytes, str], tuple[int, bytes, bytes]] = {}

    def handle(self, route: Route, request: DirectRequest) -> bool:
        """Take a request; False when it should take the long way."""
        note: _Note = request.head.note or _noted(request.head)
        if note.long or len(request.body) > LARGE_BODY_BYTES:
            return False
        headers = request.head.fields
        exchange = _Exchange(self, route, request, self._tracing.begin(headers, route.path))
        try:
            exchange.serving = serving = self._service.lookup(route.name, route.version)
            if note.wrong:
                raise note.wrong
            terms = WHENEVER
            if note.own_seconds is not None or self._service.spec.slo_p99_seconds is not None:
                terms = deadline_terms(request.arrived(), note.own_seconds, self._service.spec.slo_p99_seconds)
            if refused := serving.lane.early_refusal(terms.deadline, request.received):
                self._refuse_soon(exchange, refused)
                return True
            exchange.slot = slot = self._intake.enter(serving.measurements.shed)
            slot.hold(len(request.body))
            exchange.ask(serving, route.read(serving.predictor, request.body, headers), terms)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller is answered
            exchange.refuse(error)
        return True

    def _refuse_soon(self, exchange: "_Exchange", error: Exception) -> None:
        """Refuse when all that has come is read, all at once: a client that is woken for each takes the core each time."""
        if not self._refused:
            asyncio.get_running_loop().call_soon(self._refuse_all)
        self._refused.append((exchange, error))

    def _refuse_all(self) -> None:
        refused, self._refused = self._refused, []
        for exchange, error in refused:
            exchange.refuse(error)

    def packed(self, encoded: Encoded, coding: str) -> "asyncio.Future[Encoded]":
        """A large answer, packed beside the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._packing, compressed, encoded, coding)

    def lines_of(self, encoded: Encoded) -> bytes:
        """Header lines; kept where an answer has nothing but a type, as nearly all have."""
        if len(encoded.headers) > 1:
            return header_lines(encoded.headers)
        type_ = encoded.headers["Content-Type"]
        if type_ not in self._lines:
            self._lines[type_] = header_lines(encoded.headers)
        return self._lines[type_]

    def refusal(self, error: Exception, route: Route, serving: Serving | None, request_id: str) -> tuple[int, bytes, bytes]:
        """Status, header lines and body; kept where requests differ in nothing: under overload a refusal must be cheap."""
        if serving is None or route.refuse is not refuse_v2 or not isinstance(error, Overloaded):
            return _written(refusal(error, route, serving, request_id))
        key = serving.header_lines, error.message
        if key not in self._refusals:
            if len(self._refusals) >= MAX_KEPT_REFUSALS:
                self._refusals.clear()
            self._refusals[key] = _written(refusal(error, route, serving, request_id))
        return self._refusals[key]


def _written(response: Response) -> tuple[int, bytes, bytes]:
    lines = {name: value for name, value in response.headers.items() if name.lower() not in _ADDED_BY_SERVER}
    return response.status_code, header_lines(lines), bytes(response.body)


class _Exchange:
    """One request until it is answered."""

    __slots__ = ("_question", "_request", "_route", "_trace", "_way", "serving", "slot")

    def __init__(self, way: ShortWay, route: Route, request: DirectRequest, trace: Trace | None) -> None:
        self._way = way
        self._route = route
        self._request = request
        self._trace = trace
        self._question: Question | None = None
        self.serving: Serving | None = None
        self.slot: Slot | None = None

    def ask(self, serving: Serving, question: Question, early: Terms) -> None:
        """Queue the question; `done` is called with what became of it."""
        self._question = question
        terms = terms_of(early, question, self._request.arrived)
        serving.submit(question.inputs, question.rows, self.done, terms, gone=self._gone)

    def done(self, outcome: Outcome) -> None:
        """Answer with the outputs, or with why there are none."""
        serving, question = self.serving, self._question
        assert serving is not None  # noqa: S101  # `ask` was called
        assert question is not None  # noqa: S101  # likewise
        if isinstance(outcome, Exception):
            self.refuse(outcome)
            return
        try:
            encoded = question.answer(outcome)
        except Exception as error:  # noqa: BLE001  # an answer that is no number, or a program that answers another shape
            self.refuse(error)
            return
        self._leave()
        serving.measurements.request_seconds.observe(time.perf_counter() - self._request.received)
        if question.coding and len(encoded.body) >= COMPRESS_FROM_BYTES:
            packing = self._way.packed(encoded, question.coding)
            # What cannot be packed goes as it is.
            packing.add_done_callback(lambda packed: self._reply(serving, encoded if packed.exception() else packed.result()))
        else:
            self._reply(serving, encoded)

    def refuse(self, error: Exception) -> None:
        """Answer that there is none."""
        self._leave()
        if self.serving is not None:
            self.serving.measurements.failed.add(time.perf_counter() - self._request.received)
        status, lines, body = self._way.refusal(error, self._route, self.serving, self._request.id)
        self._request.reply(status, lines + self._traced(status), body)

    def _reply(self, serving: Serving, encoded: Encoded) -> None:
        lines = serving.header_lines + self._way.lines_of(encoded)
        self._request.reply(200, lines + self._traced(200) if self._trace else lines, encoded.body)

    def _traced(self, status: int) -> bytes:
        """The trace's end, as a header line; nothing where there is none."""
        if self._trace is None:
            return b""
        version = self.serving.version if self.serving else None
        self._trace.end(status, self._route.name, str(version.number) if version else "")
        return header_lines({TRACE_RESPONSE_HEADER: self._trace.response})

    def _gone(self) -> bool:
        return self._request.disconnected

    def _leave(self) -> None:
        if self.slot is not None:
            self.slot.leave()
            self.slot = None
