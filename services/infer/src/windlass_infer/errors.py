"""The ways in which a request is refused that no other service needs. Knows no HTTP framework and no model."""

from windlass_core.errors import BadData, WindlassError


class BadRequest(WindlassError):
    """The request is not one that this server understands; sending it again cannot help."""

    http_status = 400
    default_reason = "BadRequest"


class Unauthorized(WindlassError):
    """The caller has not shown that it may do this."""

    http_status = 401
    default_reason = "Unauthorized"


class MethodNotAllowed(WindlassError):
    """The path is right, the method is not."""

    http_status = 405
    default_reason = "MethodNotAllowed"


class RequestTimeout(WindlassError):
    """The body did not arrive in time."""

    http_status = 408
    default_reason = "RequestTimeout"


class TooLarge(WindlassError):
    """The body is larger than this server takes."""

    http_status = 413
    default_reason = "RequestTooLarge"


class UnsupportedMedia(WindlassError):
    """The body is encoded in a way that this server does not read."""

    http_status = 415
    default_reason = "UnsupportedMediaType"


class Overloaded(WindlassError):
    """More is asked for than can be answered soon; the same request may succeed a little later, or on another pod.

    Args:
        retry_after: whole seconds after which trying again is worth it.
    """

    http_status = 429
    default_reason = "Overloaded"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(WindlassError):
    """The time that the caller gave for the answer is over, or will be before it can be computed."""

    http_status = 504
    default_reason = "DeadlineExceeded"


class PredictionFailed(WindlassError):
    """The engine raised for this request although its input was in order."""

    default_reason = "PredictionFailed"


class PredictionNotFinite(BadData):
    """The model answered with a NaN or an infinity, which no client can use."""

    default_reason = "PredictionNotFinite"
