"""One log format for every program: a JSON object a line on stderr.

Every line has `time`, `level`, `service`, `logger` and `message`; `requestId` while a request is served; `exception` with the
traceback where there is one; and whatever was given as `extra`. So has one of an exception that nobody catches, or that Python
cannot raise (in a finalizer of a library, for example), of which it would tell in lines of its own. Uses the standard library
alone, so that the operator's image needs nothing for it. Knows no HTTP: `serving.py` sets the request id.
"""

import json
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

LEVEL_VARIABLE = "WINDLASS_LOG_LEVEL"
DEFAULT_LEVEL = "INFO"

# Id of the request that the current task serves.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# What every record carries of its own; all else on a record came by `extra`.
_RECORD_ATTRIBUTES = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime"}
# uvicorn repeats its message with colour codes in an extra.
_LEFT_OUT = _RECORD_ATTRIBUTES | {"color_message"}


class JsonFormatter(logging.Formatter):
    """Records as one JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; what JSON cannot hold stands as its text, and a number that is not finite as null."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["requestId"] = current
        line |= {key: value for key, value in vars(record).items() if key not in _LEFT_OUT}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _json(line)
        except ValueError:  # rare, so that no other line is walked through for it
            return _json(_finite(line))


def _json(line: Any) -> str:
    return json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """The value with null for each number that JSON cannot write; a reader of the field would refuse text among numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def configure(service: str, *, environment: Mapping[str, str] | None = None, stream: TextIO | None = None) -> None:
    """Send the records of all loggers to stderr as JSON, and exceptions that nobody catches; what was configured is replaced.

    Args:
        service: name of the program, for the field `service`.
        environment: WINDLASS_LOG_LEVEL is a level of the standard library in any case; INFO when unset or not one.
        stream: where to write instead of stderr.
    """
    wanted = (os.environ if environment is None else environment).get(LEVEL_VARIABLE, DEFAULT_LEVEL).upper()
    level = logging.getLevelNamesMapping().get(wanted)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level or DEFAULT_LEVEL, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _ended, _ended_thread, _ignored
    if level is None:
        logging.getLogger(__name__).warning("%s is '%s', which is no level; using %s", LEVEL_VARIABLE, wanted, DEFAULT_LEVEL)


def _ended(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("the program ends by an exception that nobody caught", exc_info=error)


def _ended_thread(ended: threading.ExceptHookArgs) -> None:
    if issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread else "unknown"
    logging.getLogger(__name__).error("thread '%s' ended by an exception that nobody caught", name, exc_info=ended.exc_value)


def _ignored(ignored: "sys.UnraisableHookArgs") -> None:
    said = ignored.err_msg or "Exception ignored in"
    logging.getLogger(__name__).warning("%s: %r", said, ignored.object, exc_info=ignored.exc_value)
