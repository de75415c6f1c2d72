"""The frame of a run pod: RunSpec in, progress while it works, RunResult and an exit code at the end.

A service gives `main_run` one function; this module reads the spec from the environment, serves /progress beside the function,
turns what it returns or raises into the termination message and the exit code, and turns SIGTERM into a request to stop.
Knows no data and no model.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.types import ASGIApp

from windlass_core import log
from windlass_core.contracts import (
    RUN_PORT,
    RUN_SPEC,
    RUN_SPEC_VARIABLE,
    TERMINATION_LOG_PATH,
    TERMINATION_LOG_VARIABLE,
    Progress,
    RunResult,
    RunSpec,
)
from windlass_core.errors import BadConfiguration, Stopped, WindlassError
from windlass_core.serving import BackgroundServer, create_app
from windlass_core.stop_signals import stop_signals

FIRST_PHASE = "Starting"
# Of an unexpected error's text; the whole of it is in the log.
MESSAGE_LENGTH = 1000

_log = logging.getLogger(__name__)


class ProgressBoard:
    """How far the run is: one writer or many, read by GET /progress at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = Progress(phase=FIRST_PHASE, at=datetime.now(UTC))

    def update(self, **fields: Any) -> None:
        """Set fields of Progress, by their Python names; the others stay as they are and `at` becomes now.

        Raises:
            TypeError: Progress has no such field.
            ValidationError: a value is of the wrong type.
        """
        if unknown := sorted(fields.keys() - Progress.model_fields.keys()):
            raise TypeError(f"Progress has no field {unknown[0]}")
        with self._lock:
            merged = dict(self._current) | fields | {"at": datetime.now(UTC)}
            self._current = Progress.model_validate(merged)

    def current(self) -> Progress:
        """The newest state."""
        return self._current


@dataclass(frozen=True)
class RunContext:
    """What a run may use of its frame."""

    progress: ProgressBoard
    stop_requested: threading.Event

    def check_stop(self) -> None:
        """Raises Stopped when the run was asked to stop; for runs that have nothing to save."""
        if self.stop_requested.is_set():
            raise Stopped("the run was asked to stop")


Execute = Callable[[RunSpec, RunContext], RunResult]


def main_run(
    service: str, execute: Execute, *, port: int = RUN_PORT, read: Callable[[], RunSpec] = lambda: read_spec(os.environ)
) -> int:
    """Do the run that the environment describes; SIGTERM and SIGINT ask it to stop.

    Args:
        service: name of the program in its logs.
        execute: does the work; raises WindlassError for what the user should read. It looks at `context.stop_requested`
            often enough to end well within the pod's grace period, by raising Stopped.
        port: of /progress, /metrics, /healthz and /readyz.
        read: gives what to do, where it does not stand in the environment; raises BadConfiguration.

    Returns:
        The exit code: 0 only when the work is done and nobody asked it to stop; see `errors.py`.
    """
    log.configure(service)
    context = RunContext(progress=ProgressBoard(), stop_requested=threading.Event())
    with stop_signals(context.stop_requested):
        result, code = _outcome(execute, context, port, read)
        leave_message(result, os.environ)
    _log.log(
        logging.INFO if code == 0 else logging.ERROR,
        "the run ended",
        extra={"outcome": result.outcome, "reason": result.reason, "detail": result.message, "exitCode": code},
    )
    return code


def _outcome(execute: Execute, context: RunContext, port: int, read: Callable[[], RunSpec]) -> tuple[RunResult, int]:
    try:
        spec = read()
        with BackgroundServer(_progress_app(context.progress), port):
            result = execute(spec, context)
    except WindlassError as error:
        if context.stop_requested.is_set() and not isinstance(error, Stopped):
            return _stopped(f"the run was asked to stop, and while stopping: {error.message}")
        outcome = "Stopped" if isinstance(error, Stopped) else "Failed"
        return RunResult(outcome=outcome, reason=error.reason, message=error.message), error.exit_code
    except Exception as error:  # noqa: BLE001  (the outermost frame: whatever happened must reach the object as a sentence)
        _log.exception("unexpected error")
        sentence = _one_line(error)
        if context.stop_requested.is_set():
            return _stopped(f"the run was asked to stop, and while stopping: {sentence}")
        return RunResult(outcome="Failed", reason=WindlassError.default_reason, message=sentence), WindlassError.exit_code
    if context.stop_requested.is_set():
        # Kubernetes must not take a pod that was told to leave for one that completed; a new one finds the work done.
        return result.model_copy(update={"outcome": "Stopped", "reason": Stopped.default_reason}), Stopped.exit_code
    return result, {"Succeeded": 0, "Stopped": Stopped.exit_code}.get(result.outcome, WindlassError.exit_code)


def _stopped(message: str) -> tuple[RunResult, int]:
    return RunResult(outcome="Stopped", reason=Stopped.default_reason, message=message), Stopped.exit_code


def _one_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:MESSAGE_LENGTH]


def read_spec(environment: Mapping[str, str]) -> RunSpec:
    """What this pod is to do. Raises BadConfiguration when the environment does not say it."""
    text = environment.get(RUN_SPEC_VARIABLE)
    if not text:
        raise BadConfiguration(f"the variable {RUN_SPEC_VARIABLE} is not set; it holds what to do as JSON")
    try:
        return RUN_SPEC.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadConfiguration(f"{RUN_SPEC_VARIABLE} is not a run: {where}: {first['msg']}") from error


def _progress_app(board: ProgressBoard) -> ASGIApp:
    app = create_app("Windlass run", ready=lambda: None)

    @app.get("/progress", summary="How far the run is", response_model_exclude_none=True)
    async def progress() -> Progress:
        return board.current()

    return app


def leave_message(result: RunResult, environment: Mapping[str, str]) -> None:
    """Write the termination message; outside a pod, where nobody reads one, only if a path was asked for."""
    given = environment.get(TERMINATION_LOG_VARIABLE)
    path = Path(given or TERMINATION_LOG_PATH)
    if not given and not path.exists():
        return
    try:
        path.write_text(result.to_termination_message(), encoding="utf-8")
    except OSError as error:
        _log.error("the termination message could not be written", extra={"path": str(path), "error": str(error)})
