"""Inference past ASGI: a request that came whole in one read, from its bytes to its bytes without a task or a message.

Everything else takes the long way: what the server does not hand over here, and what is handed back because reading its body
would stop the others. Runs on the event loop only; answers come when the lane has them. Knows no protocol and no queue.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from starlette.responses import Response

from windlass_core.direct import Answer, Connection, DirectRequest, Gate, Prepared, arrived, header_lines
from windlass_core.errors import WindlassError
from windlass_core.heads import Head
from windlass_core.log import request_id
from windlass_infer.bodies.choice import LARGE_BODY_BYTES, takes_long
from windlass_infer.bodies.compression import COMPRESS_FROM_BYTES, compressed
from windlass_infer.errors import BadRequest, Overloaded
from windlass_infer.exchange import Route, early_terms, own_seconds, refusal, refuse_v2, terms_of
from windlass_infer.intake import Intake, Slot
from windlass_infer.lanes.computing import Outcome
from windlass_infer.lanes.lateness import said_to_nobody
from windlass_infer.lanes.terms import Terms
from windlass_infer.protocol import Encoded
from windlass_infer.questions import Question
from windlass_infer.service import Service
from windlass_infer.serving import Serving
from windlass_infer.tracing import TRACE_PARENT_KEY, TRACE_RESPONSE_HEADER, Trace, Tracing

# Refusals that are kept: a few for each version. Those with figures of one request push one another out.
MAX_KEPT_REFUSALS = 256
# The terms of requests that name no time, where the server has no bound either.
_LET_IN = Terms(None, let_in=True)
# What the server adds to every answer by itself.
_ADDED_BY_SERVER = frozenset({"content-length", "date", "x-request-id"})


@dataclass(frozen=True, slots=True)
class _Note:
    """What is read in a head, once for all requests that begin with it.

    Attributes:
        long: bodies behind it take long to read.
        own_seconds: the time that the caller names.
        wrong: why that is none.
        alone: its refusal is not one that is prepared for all.
    """

    long: bool
    own_seconds: float | None
    wrong: BadRequest | None
    alone: bool


def _noted(head: Head) -> _Note:
    seconds, wrong = None, None
    try:
        seconds = own_seconds(head.fields)
    except BadRequest as error:
        # Kept for all requests with this head: nothing of the first may stay with it, and raising it would add to it each time.
        wrong = error.with_traceback(None)
    long = takes_long(b"", head.fields)
    note = _Note(long, seconds, wrong, alone=long or wrong is not None or TRACE_PARENT_KEY in head.fields)
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
        self._refusals: dict[tuple[bytes, str], Prepared] = {}

    def gate_of(self, route: Route) -> Gate | None:
        """Refuses requests of a route by what their heads tell; None where a refusal is not the same for all.

        Under overload this is what is done most, and it must cost a fraction of an answer.
        """
        if self._tracing.exports or route.refuse is not refuse_v2:
            return None

        def gate(head: Head, connection: Connection) -> Prepared | None:
            note: _Note = head.note or _noted(head)
            if note.alone:
                return None
            try:
                serving = self._service.lookup(route.name, route.version)
            except WindlassError:
                return None
            seconds, received = note.own_seconds or self._service.spec.slo_p99_seconds, connection.received
            refused: WindlassError | None = None
            # Its deadline is no later than that; when it is, is asked only of those that are not refused for so much.
            if seconds is None or (refused := serving.lane.refused_alike(received + seconds, received)) is None:
                deadline = None if seconds is None else arrived(connection) + seconds
                if (refused := serving.lane.early_refusal(deadline, received)) is None:
                    own = note.own_seconds is not None
                    connection.note = _LET_IN if deadline is None else Terms(deadline, own_deadline=own, let_in=True)
                    return None
            serving.measurements.failed.add(time.perf_counter() - received)
            return self._kept(refused, route, serving)

        return gate

    def handle(self, route: Route, request: DirectRequest) -> bool:
        """Take a request that the gate has let in; False when it should take the long way.

        It is read at once, or behind others that were let in.
        """
        note: _Note = request.head.note or _noted(request.head)
        if note.long or len(request.body) > LARGE_BODY_BYTES:
            return False
        headers = request.head.fields
        exchange = _Exchange(self, route, request, self._tracing.begin(headers, route.path))
        try:
            exchange.serving = serving = self._service.lookup(route.name, route.version)
            if note.wrong:
                exchange.refuse(note.wrong)
                return True
            terms: Terms = request.note or self._terms(note, serving, request)
            exchange.slot = slot = self._intake.enter(serving.measurements.shed)
            slot.hold(len(request.body))
            serving.lane.take(partial(exchange.read, serving, terms), terms)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller is answered
            exchange.refuse(error)
        return True

    def _terms(self, note: _Note, serving: Serving, request: DirectRequest) -> Terms:
        """Of a request that the gate has not judged. Raises Overloaded when it would be too late."""
        terms = early_terms(note.own_seconds, request.arrived, self._service.spec.slo_p99_seconds)
        serving.lane.refuse_early(terms.deadline, request.received)
        return terms

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

    def refusal(self, error: Exception, route: Route, serving: Serving | None, request_id: str) -> Answer:
        """Status, header lines and body; kept where requests differ in nothing: under overload a refusal must be cheap."""
        if serving is None or route.refuse is not refuse_v2 or not isinstance(error, Overloaded):
            return _written(refusal(error, route, serving, request_id))
        return self._kept(error, route, serving).answer

    def _kept(self, error: WindlassError, route: Route, serving: Serving) -> Prepared:
        """A refusal in which nothing tells which request it is of."""
        key = serving.header_lines, error.message
        if (found := self._refusals.get(key)) is None:
            if len(self._refusals) >= MAX_KEPT_REFUSALS:
                self._refusals.clear()
            found = self._refusals[key] = Prepared(_written(refusal(error, route, serving, None)))
        return found


def _written(response: Response) -> Answer:
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

    def read(self, serving: Serving, early: Terms) -> None:
        """Read the body and queue what it asks; `done` is called with what became of it. Nothing of it is done for nobody."""
        request = self._request
        if request.disconnected:
            self.refuse(said_to_nobody())
            return
        token = request_id.set(request.id)
        try:
            self._question = question = self._route.read(serving.predictor, request.body, request.head.fields)
            terms = terms_of(early, question, request.arrived)
            serving.submit(question.inputs, question.rows, self.done, terms, gone=self._gone)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller is answered
            self.refuse(error)
        finally:
            request_id.reset(token)

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
