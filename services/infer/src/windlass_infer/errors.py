"""The ways in which a request is refused that no other service needs. Knows no HTTP framework and no model."""

from windlass_core.errors import BadData, WindlassError


class BadRequest(WindlassError):
    """The request is not one that this server understands; sending it again cannot help."""

    http_status = 400
    default_reason = "BadRequest"


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
    """More is asked for than can be answered soon; the same request may succeed a little later, or on another pod."""

    http_status = 429
    default_reason = "Overloaded"


class PredictionFailed(WindlassError):
    """The engine raised for this request although its input was in order."""

    default_reason = "PredictionFailed"


class PredictionNotFinite(BadData):
    """The model answered with a NaN or an infinity, which no client can use."""

    default_reason = "PredictionNotFinite"
