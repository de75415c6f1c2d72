"""The calls of the protocol over gRPC: on the event loop of the HTTP server, into the same queues, bounded in the same ways.

A call ends when its deadline does: what waits is taken out of the queue. Refusals are status codes with a sentence. The health
service (grpc.health.v1) says for the server, and for the protocol's service by name, whether inference can be asked for.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc.aio import ServicerContext

from windlass_core import __version__
from windlass_core.errors import Unavailable, WindlassError
from windlass_infer.administration import Administration
from windlass_infer.bodies.choice import LARGE_BODY_BYTES
from windlass_infer.errors import Overloaded
from windlass_infer.exchange import deadline_terms, terms_of
from windlass_infer.grpc import messages
from windlass_infer.grpc import open_inference_pb2 as wire
from windlass_infer.grpc.administering import administration_calls
from windlass_infer.grpc.health import Health
from windlass_infer.grpc.measuring import Measured
from windlass_infer.grpc.messages import parsed
from windlass_infer.grpc.statuses import code_of
from windlass_infer.intake import MAX_BODY_BYTES, MAX_REQUESTS, Intake
from windlass_infer.lanes.terms import Terms
from windlass_infer.protocol import Encoded
from windlass_infer.questions import Question
from windlass_infer.service import Service
from windlass_infer.serving import Serving, version_headers

SERVICE = "inference.GRPCInferenceService"
SERVER_NAME = "windlass-infer"
# Both IP versions, where the machine has them.
ALL_INTERFACES = "[::]"
# Names and shapes of tensors beside their values.
MESSAGE_OVERHEAD_BYTES = 64 * 1024
# Calls in flight get this long when the server stops, as requests over HTTP do.
DRAIN_SECONDS = 20.0
# Clients may ask this often whether the connection lives; gRPC's own bound of five minutes cuts those of most proxies.
PING_SECONDS = 10

RETRY_AFTER_KEY = "retry-after"
# gRPC says of a call without a deadline that it has this long and more.
FOREVER_SECONDS = 365 * 24 * 3600.0

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_BODY_BYTES + MESSAGE_OVERHEAD_BYTES),
    ("grpc.max_send_message_length", -1),  # answers are bounded by what was asked
    ("grpc.max_concurrent_streams", MAX_REQUESTS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_SECONDS * 1000),
]

log = logging.getLogger(__name__)

Call = ServicerContext[bytes, bytes]


@asynccontextmanager
async def serving_grpc(
    service: Service,
    administration: Administration,
    intake: Intake,
    port: int,
    *,
    host: str = ALL_INTERFACES,
    share_port: bool = False,
) -> AsyncIterator[None]:
    """Answer calls while the block runs; at its end no new ones, and those in flight get DRAIN_SECONDS.

    Of several processes that listen on one port the kernel chooses one by a hash. So each listens only when it has loaded what
    it serves: one that takes the place of another would be given calls while its siblings could answer them.

    Args:
        service: the models.
        administration: statistics, and the model repository extension.
        intake: bounds what is in flight, together with the HTTP server.
        port: to listen on.
        host: address to listen on.
        share_port: whether other processes of this pod listen on it too.

    Raises:
        Unavailable: the port is taken; where it is shared, this becomes the service's failure.
    """
    options = [*_OPTIONS, ("grpc.so_reuseport", int(share_port))]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_REQUESTS)
    health = Health({"", SERVICE}, lambda: service.why_not_ready() is None)
    server.add_generic_rpc_handlers((Calls(service, administration, intake).handlers(), health.handlers()))
    listening = asyncio.create_task(_listen_when_loaded(service, server, host, port)) if share_port else None
    if listening is None:
        await _listen(server, host, port)
    try:
        yield
    finally:
        if listening is not None:
            listening.cancel()
        await server.stop(DRAIN_SECONDS)


async def _listen_when_loaded(service: Service, server: grpc.aio.Server, host: str, port: int) -> None:
    changed = asyncio.Event()
    service.on_change(changed.set)
    while service.loaded is None:
        changed.clear()
        await changed.wait()
    try:
        await _listen(server, host, port)
    except Unavailable as error:
        service.failure = error


async def _listen(server: grpc.aio.Server, host: str, port: int) -> None:
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise Unavailable(f"port {port} cannot be listened on: {error}") from error
    await server.start()
    log.info("listening for gRPC", extra={"port": port})


class Calls:
    """The calls of the service, from message to message."""

    def __init__(self, service: Service, administration: Administration, intake: Intake) -> None:
        self._service = service
        self._administration = administration
        self._intake = intake
        self._large = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-messages")

    def handlers(self) -> grpc.GenericRpcHandler:
        """What a server looks the calls up in."""
        plain: list[tuple[str, type[Message], Callable[[Any], Message]]] = [
            ("ServerLive", wire.ServerLiveRequest, self.server_live),
            ("ServerReady", wire.ServerReadyRequest, self.server_ready),
            ("ServerMetadata", wire.ServerMetadataRequest, self.server_metadata),
            ("ModelReady", wire.ModelReadyRequest, self.model_ready),
            ("ModelMetadata", wire.ModelMetadataRequest, self.model_metadata),
        ]
        calls: dict[str, Callable[[bytes, Any], Awaitable[bytes]]] = {"ModelInfer": self.model_infer}
        calls |= administration_calls(self._administration)
        calls |= {name: partial(_answer_plain, request, call) for name, request, call in plain}
        # Bytes in and out: gRPC would otherwise take messages apart on the event loop, whatever their size, and answer
        # those that it cannot read with a traceback in the log.
        table: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(_refusing(Measured(name), call)) for name, call in calls.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, table)

    def server_live(self, _request: wire.ServerLiveRequest) -> wire.ServerLiveResponse:
        """Whether the process lives."""
        return wire.ServerLiveResponse(live=True)

    def server_ready(self, _request: wire.ServerReadyRequest) -> wire.ServerReadyResponse:
        """Whether inference can be asked for."""
        return wire.ServerReadyResponse(ready=self._service.why_not_ready() is None)

    def server_metadata(self, _request: wire.ServerMetadataRequest) -> wire.ServerMetadataResponse:
        """What the server is."""
        return wire.ServerMetadataResponse(name=SERVER_NAME, version=__version__, extensions=self._administration.extensions)

    def model_ready(self, request: wire.ModelReadyRequest) -> wire.ModelReadyResponse:
        """Whether one model can be asked. Raises NotFound when there is none of that name."""
        try:
            self._service.lookup(request.name, request.version or None)
        except Unavailable:
            return wire.ModelReadyResponse(ready=False)
        return wire.ModelReadyResponse(ready=self._service.why_not_ready() is None)

    def model_metadata(self, request: wire.ModelMetadataRequest) -> wire.ModelMetadataResponse:
        """What a model takes and gives. Raises NotFound and Unavailable."""
        serving = self._service.lookup(request.name, request.version or None)
        model = self._service.table.model(request.name)
        numbers = sorted(one.version.number for one in model.servings) if model else []
        return messages.model_metadata(serving.predictor, [str(number) for number in numbers], serving.platform)

    async def model_infer(self, body: bytes, context: Call) -> bytes:
        """Outputs for inputs."""
        received = time.perf_counter()
        large = len(body) > LARGE_BODY_BYTES
        message = await self._run(large, parsed, wire.ModelInferRequest, body)
        serving = self._service.lookup(message.model_name, message.model_version or None)
        context.set_trailing_metadata(_metadata(serving))
        try:
            answer = await self._answer(serving, message, len(body), large, received, context)
        except Exception:
            serving.measurements.failed.add(time.perf_counter() - received)
            raise
        serving.measurements.request_seconds.observe(time.perf_counter() - received)
        return answer

    async def _answer(
        self, serving: Serving, message: wire.ModelInferRequest, size: int, large: bool, received: float, context: Call
    ) -> bytes:
        early = _early_terms(context, received, self._service.spec.slo_p99_seconds)
        serving.lane.refuse_early(early.deadline, received)
        with self._intake.enter(serving.measurements.shed) as slot:
            slot.hold(size)
            question: Question = await self._run(large, messages.question, serving.predictor, message)
            slot.hold(question.held_bytes)
            outputs = await serving.ask(question.inputs, question.rows, terms_of(early, question, lambda: received))
            encoded: Encoded = await self._run(large, question.answer, outputs)
            return encoded.body

    async def _run(self, large: bool, function: Callable[..., Any], *arguments: Any) -> Any:
        """On a thread, when the message is so large that it would stop the others."""
        if not large:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._large, function, *arguments)


def _early_terms(context: Call, received: float, slo_seconds: float | None) -> Terms:
    """The call's own deadline, else the server's."""
    remaining = context.time_remaining()
    own = remaining if remaining is not None and remaining < FOREVER_SECONDS else None
    return deadline_terms(received, own, slo_seconds)


def _metadata(serving: Serving) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in version_headers(serving.version).items())


async def _answer_plain(request: type[Message], call: Callable[[Any], Message], body: bytes, _context: Any) -> bytes:
    return call(parsed(request, body)).SerializeToString()


def _refusing(measured: Measured, call: Callable[[bytes, Any], Awaitable[bytes]]) -> Callable[[bytes, Call], Awaitable[bytes]]:
    """The call, measured, and its errors as status codes."""

    async def answer(body: bytes, context: Call) -> bytes:
        with measured.call(dict(context.invocation_metadata() or ())) as ended:
            try:
                return await call(body, context)
            except WindlassError as error:
                refusal = error
            except Exception:
                log.exception("unexpected error", extra={"call": measured.name})
                refusal = WindlassError("an error that was not foreseen; the service's log tells more")
            code = code_of(refusal)
            ended(code)
            if isinstance(refusal, Overloaded):
                said = tuple(context.trailing_metadata() or ())
                context.set_trailing_metadata((*said, (RETRY_AFTER_KEY, str(refusal.retry_after))))
            return await context.abort(code, refusal.message)

    return answer
