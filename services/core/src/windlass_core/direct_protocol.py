"""What a connection does for the short way (`direct.py`): finds requests that can take it, and writes their answers.

Knows HTTP/1.1 as uvicorn and httptools have it, and no application.
"""

import logging
import time
from asyncio import Transport
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from windlass_core.direct import Answer, Direct, DirectHandler, DirectRequest, Prepared
from windlass_core.heads import Head
from windlass_core.log import request_id as current_request_id
from windlass_core.patience import Patience
from windlass_core.processes.crew import Give
from windlass_core.relief import Relief
from windlass_core.requests import IN_FLIGHT, TOO_MANY_REQUESTS, identify, observe
from windlass_core.waiting import Borrowed, borrowed, unread_bytes

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = b"x-request-id"
# A larger answer is not copied behind its head; beyond this the copy costs more than a second write.
JOINED_BODY_BYTES = 64 * 1024

# What makes a request unusual: these headers ask for what only the ASGI application does.
_UNUSUAL = frozenset({b"expect", b"transfer-encoding", b"content-encoding", b"upgrade"})


def _no_handler(request: DirectRequest) -> Answer:
    raise AssertionError(f"{request.head.path} has no handler")


_NONE = Direct(failed=_no_handler)


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the short way in front.

    While a request is read it is a candidate or not; a candidate that turns out unusual is started the ASGI way late, with
    what was read of it.
    """

    def __init__(self, *, direct: Direct | None, relief: Relief, lost: Callable[[], None], **options: Any) -> None:
        """For one connection.

        Args:
            direct: the handlers; None: all requests take the ASGI way.
            relief: of the event loop, where refusals go on.
            lost: called when the connection is closed.
            options: uvicorn's.
        """
        super().__init__(**options)
        self._direct = direct or _NONE
        self._relief = relief
        self._lost = lost
        self._handler: DirectHandler | None = None
        # Unanswered; not always the cycle, which is the newest request, and one behind it may have been read already.
        self._in_flight: DirectRequest | None = None
        self._whole = b""
        self._read = b""  # what is being read, where it begins with a request
        self._keep_alive = True
        self.patience = Patience(time.monotonic())
        self.socket: Borrowed | None = None
        self.received = 0.0
        self.note: Any = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A connection is there."""
        super().connection_made(transport)
        self.socket = borrowed(transport)

    def data_received(self, data: bytes) -> None:
        """All of one read goes to the parser; a candidate that is not whole by then is no candidate."""
        begins = not self.patience.in_middle
        if begins and self._handle_known(data):
            return
        self.patience.data_came(time.monotonic())
        self._read = data if begins else b""
        super().data_received(data)
        self._read = b""
        if self._handler is not None:
            self._start_late()

    def _handle_known(self, data: bytes) -> bool:
        """Take a whole request past the parser, when its head has come before."""
        if (known := self._direct.heads.find(data)) is None or not self._is_free():
            return False
        head, body = known
        handler = self._direct.handlers.get(head.url)
        if handler is None:
            return False
        self.patience.request_ended()
        return self._handle(handler, head, body, keep_alive=True)

    def on_message_begin(self) -> None:
        """A request begins. What only the ASGI way needs is made when it is taken."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Decides whether the request is a candidate."""
        self.patience.head_ended()
        handler = self._direct.handlers.get(self.url)
        if (
            handler is None
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or not self._is_free()
            or any(name in _UNUSUAL for name, _value in self.headers)
        ):
            self._take_asgi_way()
            return
        self._handler = handler
        self._whole = b""
        self._keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._handler is None:
            super().on_body(body)
        else:
            self._whole = self._whole + body if self._whole else body

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.patience.request_ended()
        handler = self._handler
        if handler is None:
            super().on_message_complete()
            return
        head = Head.of(self.url, self.headers)
        if self._handle(handler, head, self._whole, keep_alive=self._keep_alive):
            self._handler = None
            if self._keep_alive:
                self._direct.heads.learn(self._read, head, self._whole)
        else:
            self._start_late()
            super().on_message_complete()

    def shutdown(self) -> None:
        """The server leaves: close what is idle, and have what is being answered close after it.

        A request that has begun to come, or waits in the kernel to be read, would be lost by closing: it is answered first.
        """
        idle = self.cycle is None or self.cycle.response_complete
        if not (idle and (self.patience.head_begun or unread_bytes(self.transport))):
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it the request that was being answered."""
        super().connection_lost(exc)
        if (request := self._in_flight) is not None:
            self._in_flight = None
            request.disconnected = True
            _ended(request, None)
        self.socket = None
        self._lost()

    def direct_answer(self, request: DirectRequest, status: int, headers: bytes, body: bytes) -> None:
        """Write an answer; for `DirectRequest.reply`."""
        if request.disconnected:
            return
        self._in_flight = None
        default, leaving = _DEFAULT_HEADERS.joined(self.server_state.default_headers)
        close = not request.keep_alive
        head = b"%b%b%b%b: %b\r\ncontent-length: %d\r\n%b\r\n" % (
            STATUS_LINE[status],
            default,
            headers,
            _REQUEST_ID,
            request.id.encode("latin-1"),
            len(body),
            b"connection: close\r\n" if close and not leaving else b"",
        )
        if len(body) <= JOINED_BODY_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        if close or leaving:
            self.transport.close()
        _ended(request, status)
        self.on_response_complete()
        if status == TOO_MANY_REQUESTS:
            self._relief.refused(self)

    def leave(self, give: Give) -> bool:
        """Give the socket to another process and be closed here; False when something is under way, or it is closed already.

        Nothing that the client sends is lost: what comes from now on is read by the other process.
        """
        idle = self.patience.idle and self._is_free() and not self.transport.get_write_buffer_size()
        if not idle or self.socket is None or self.transport.is_closing() or not give(self.socket):
            return False
        self.transport.close()
        return True

    def on_response_complete(self) -> None:
        """As uvicorn has it, but without a timer for each answer: all connections are looked at once a second."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.patience.answered()

    def _is_free(self) -> bool:
        return not self.flow.write_paused and (self.cycle is None or self.cycle.response_complete)

    def _handle(self, handler: DirectHandler, head: Head, body: bytes, *, keep_alive: bool) -> bool:
        self.received, self.note = time.perf_counter(), None
        refused = self._ask_gate(head)
        if refused is not None and keep_alive and self._refused(head, refused):
            return True
        request = DirectRequest(self, head, body, keep_alive=keep_alive)
        before, self.cycle = self.cycle, request  # type: ignore[assignment]  # has what the protocol asks of a cycle
        self._in_flight = request
        IN_FLIGHT.count += 1
        try:
            if refused is not None:
                request.reply(*refused.answer)
                return True
            if _called(handler, request):
                return True
        except Exception:  # noqa: BLE001  # the parser calls this, and would take any error for one of its own
            request.reply(*self._direct.failed(request))
            return True
        IN_FLIGHT.count -= 1
        self.cycle, self._in_flight = before, None
        return False

    def _ask_gate(self, head: Head) -> Prepared | None:
        if (gate := self._direct.gates.get(head.url)) is None:
            return None
        try:
            return gate(head, self)
        except Exception:  # noqa: BLE001  # whatever it is, the handler judges for itself
            _log.exception("whether a request is refused could not be decided by its head; its handler is asked")
            return None

    def _refused(self, head: Head, prepared: Prepared) -> bool:
        """Write a refusal; False where more is to be done than that. There is no request: it would cost as much as the rest."""
        default, leaving = _DEFAULT_HEADERS.joined(self.server_state.default_headers)
        if leaving:
            return False
        status, _headers, body = prepared.answer
        request_id = identify(head.fields).encode("latin-1")
        self.transport.write(b"%b%b%b: %b\r\n\r\n%b" % (prepared.head, default, _REQUEST_ID, request_id, body))
        observe("POST", head.path, head.path, status, time.perf_counter() - self.received)
        self.on_response_complete()
        if status == TOO_MANY_REQUESTS:
            self._relief.refused(self)
        return True

    def _start_late(self) -> None:
        """Start the request the ASGI way after its headers, and maybe some of its body, were read."""
        self._handler = None
        self._take_asgi_way()
        if self._whole:
            super().on_body(self._whole)

    def _take_asgi_way(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()


def _called(handler: DirectHandler, request: DirectRequest) -> bool:
    token = current_request_id.set(request.id)
    try:
        return handler(request)
    finally:
        current_request_id.reset(token)


def _ended(request: DirectRequest, status: int | None) -> None:
    IN_FLIGHT.count -= 1
    observe("POST", request.head.path, request.head.path, status, time.perf_counter() - request.received)


class _DefaultHeaders:
    """Uvicorn's default headers as lines, made anew when it has a new list, as it has once a second."""

    def __init__(self) -> None:
        self._of: list[tuple[bytes, bytes]] | None = None
        self._joined = b"", False

    def joined(self, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bool]:
        """Lines, and whether connections end."""
        if headers is not self._of:
            self._of = headers
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self._joined = lines, any(name == b"connection" and value == b"close" for name, value in headers)
        return self._joined


_DEFAULT_HEADERS = _DefaultHeaders()
