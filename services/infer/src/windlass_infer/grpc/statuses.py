"""What became of a call, in gRPC's words."""

from http import HTTPStatus

from grpc import StatusCode

from windlass_core.errors import WindlassError

# By the status that the same error has over HTTP; google.rpc.code has the same table the other way round.
_CODES = {
    HTTPStatus.UNAUTHORIZED: StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: StatusCode.ABORTED,
    # As gRPC itself says of a message beyond its bound.
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.TOO_MANY_REQUESTS: StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.REQUEST_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.GATEWAY_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.NOT_IMPLEMENTED: StatusCode.UNIMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
}


def code_of(error: WindlassError) -> StatusCode:
    """The status code of an error of ours."""
    status = HTTPStatus(error.http_status)
    if status in _CODES:
        return _CODES[status]
    return StatusCode.INTERNAL if status >= HTTPStatus.INTERNAL_SERVER_ERROR else StatusCode.INVALID_ARGUMENT
