"""The calls of the statistics and of the model repository extension, as `administration.py` answers them.

The token of the repository goes as over HTTP: `authorization: Bearer <token>`, here in the metadata of the call.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.json_format import ParseDict

from windlass_infer.administration import Administration
from windlass_infer.grpc import open_inference_pb2 as wire
from windlass_infer.grpc.messages import parameter_values, parsed

AUTHORIZATION_KEY = "authorization"


def administration_calls(administration: Administration) -> dict[str, Callable[[bytes, Any], Awaitable[bytes]]]:
    """The calls by their names, from bytes to bytes. They raise as the methods of Administration do."""

    async def statistics(body: bytes, _context: Any) -> bytes:
        request = parsed(wire.ModelStatisticsRequest, body)
        documents = await administration.statistics(request.name or None, request.version or None)
        # The documents have fields that this server never fills, and the messages do not.
        answer = ParseDict({"model_stats": documents}, wire.ModelStatisticsResponse(), ignore_unknown_fields=True)
        return answer.SerializeToString()

    async def index(body: bytes, context: Any) -> bytes:
        request = parsed(wire.RepositoryIndexRequest, body)
        answer = wire.RepositoryIndexResponse()
        for entry in administration.index(_authorization(context), ready=request.ready):
            answer.models.add(**entry.model_dump())
        return answer.SerializeToString()

    async def load(body: bytes, context: Any) -> bytes:
        request = parsed(wire.RepositoryModelLoadRequest, body)
        await administration.load(
            _authorization(context), request.model_name, {"parameters": parameter_values(request.parameters)}
        )
        return wire.RepositoryModelLoadResponse().SerializeToString()

    async def unload(body: bytes, context: Any) -> bytes:
        request = parsed(wire.RepositoryModelUnloadRequest, body)
        await administration.unload(
            _authorization(context), request.model_name, {"parameters": parameter_values(request.parameters)}
        )
        return wire.RepositoryModelUnloadResponse().SerializeToString()

    return {
        "ModelStatistics": statistics,
        "RepositoryIndex": index,
        "RepositoryModelLoad": load,
        "RepositoryModelUnload": unload,
    }


def _authorization(context: Any) -> str | None:
    given = dict(context.invocation_metadata() or ()).get(AUTHORIZATION_KEY)
    return given if isinstance(given, str) else None
