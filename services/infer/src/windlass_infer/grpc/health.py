"""The health service of gRPC (grpc.health.v1), which Kubernetes and load balancers ask.

Knows nothing but how to ask whether all is well, and asks anew each time: nothing has to be told of a change.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import grpc
from grpc.aio import ServicerContext
from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
# How soon a client that watches hears of a change.
WATCH_SECONDS = 0.5


class Health:
    """Answers for `services`, the empty name standing for the whole server, what `healthy` says."""

    def __init__(self, services: Collection[str], healthy: Callable[[], bool]) -> None:
        self._services = services
        self._healthy = healthy

    def handlers(self) -> grpc.GenericRpcHandler:
        """What a server looks the calls up in."""
        read, write = health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
        table: dict[str, Any] = {
            "Check": grpc.unary_unary_rpc_method_handler(self.check, read, write),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, read, write),
        }
        return grpc.method_handlers_generic_handler(SERVICE, table)

    async def check(self, request: Any, context: ServicerContext[Any, Any]) -> Any:
        """The state now."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this server has no service of that name")
        return self._answer(request.service)

    async def watch(self, request: Any, _context: ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        """The state now, and each that follows, until the client goes away."""
        last = None
        while True:
            answer = self._answer(request.service)
            if answer != last:
                last = answer
                yield answer
            await asyncio.sleep(WATCH_SECONDS)

    def _answer(self, service: str) -> Any:
        status = "SERVING" if self._healthy() else "NOT_SERVING"
        return health_pb2.HealthCheckResponse(status=status if service in self._services else "SERVICE_UNKNOWN")
