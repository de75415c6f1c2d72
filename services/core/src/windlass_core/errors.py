"""The few error types that callers decide on, and the exit codes that run pods end with.

    WindlassError
      BadConfiguration    the spec asks for what cannot be         exit 40, HTTP 400
      BadData             the data is not what the spec says       exit 41, HTTP 422
      UserCodeError       code of the user raised                  exit 42
      BadDevice           the accelerator does not work            exit 43
      Stopped             asked to stop, state saved               exit 44
      NotFound            nothing is there                         HTTP 404
      Conflict            something else is there already          HTTP 409
      Unavailable         not now; trying again may help           exit 1, HTTP 503
      DigestMismatch      bytes are not those that were published  exit 41, HTTP 500

Knows nothing of HTTP frameworks or of pods: `serving.py` and `run.py` read the tables here.
"""


class WindlassError(Exception):
    """Base of all errors that carry a sentence for the user.

    Args:
        message: what is wrong, where, and what to do.
        reason: a stable CamelCase word that becomes the reason of a condition and the `reason` of an HTTP problem.
    """

    exit_code = 1
    http_status = 500
    default_reason = "InternalError"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason


class BadConfiguration(WindlassError):
    """The spec asks for what cannot be; trying again cannot help."""

    exit_code = 40
    http_status = 400
    default_reason = "BadConfiguration"


class BadData(WindlassError):
    """The data is not what the spec says it is; trying again cannot help."""

    exit_code = 41
    http_status = 422
    default_reason = "BadData"


class UserCodeError(WindlassError):
    """Code that the user brought raised an error."""

    exit_code = 42
    default_reason = "CodeRaised"


class BadDevice(WindlassError):
    """An accelerator of this node does not work; another node may."""

    exit_code = 43
    default_reason = "BadDevice"


class Stopped(WindlassError):
    """The run was asked to stop and has saved its state; starting it again resumes it."""

    exit_code = 44
    default_reason = "Stopped"


class NotFound(WindlassError):
    """Nothing is there under that name."""

    http_status = 404
    default_reason = "NotFound"


class Conflict(WindlassError):
    """Something else is there already, or has changed in between."""

    http_status = 409
    default_reason = "Conflict"


class Unavailable(WindlassError):
    """Something that is needed does not answer now; trying again may help."""

    http_status = 503
    default_reason = "Unavailable"


class DigestMismatch(WindlassError):
    """Bytes in the store are not the bytes that were published; they must not be used."""

    exit_code = 41
    http_status = 500
    default_reason = "DigestMismatch"
