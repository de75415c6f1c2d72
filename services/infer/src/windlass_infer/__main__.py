"""The doors of the service: `windlass-infer serve` answers requests, `windlass-infer run` predicts once for many rows.

With several cores a server is the parent of one serving process for each (see `windlass_core.processes`), and imports
nothing that serves: it is small and there at once. With one core it serves itself.

Exit codes of a server: 0 when it was asked to stop and every request in flight was answered; else the code of the error (see
`windlass_core.errors`), whose reason and sentence stand in the termination message for the operator.
Those of a run: see `windlass_core.run`.
"""

import argparse
import gc
import json
import logging
import os
import sys
from contextlib import suppress

from windlass_core import log
from windlass_core.errors import WindlassError
from windlass_core.listening import ALL_INTERFACES, listen
from windlass_core.pod import RUN_PORT, RUN_SPEC_VARIABLE
from windlass_core.processes.cores import cpu_limit, process_count
from windlass_core.processes.crew import WorkerCrew, join
from windlass_core.processes.supervisor import supervise
from windlass_core.scratch import own_scratch
from windlass_infer.batch.options import add_options

SERVICE = "windlass-infer"

_log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    parser = argparse.ArgumentParser(prog=SERVICE, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve", help="serve the model that WINDLASS_RUN_SPEC names until SIGTERM")
    command.add_argument("--port", type=int, default=RUN_PORT, help="port to listen on (%(default)s)")
    command.add_argument("--grpc-port", type=int, help="port to listen on for gRPC; none without it")
    run = commands.add_parser("run", help="predict for a Dataset version or files, by options or by WINDLASS_RUN_SPEC")
    run.add_argument("--port", type=int, default=RUN_PORT, help="port of /progress (%(default)s)")
    add_options(run)
    options = parser.parse_args(arguments)
    with own_scratch():
        return _run(options) if options.command == "run" else _serve(options)


def _serve(options: argparse.Namespace) -> int:
    log.configure(SERVICE)
    crew = join()
    try:
        count = 1 if isinstance(crew, WorkerCrew) else _process_count()
        if count > 1:
            program = [sys.executable, "-m", "windlass_infer", "serve", "--port", str(options.port)]
            if options.grpc_port is not None:
                program += ["--grpc-port", str(options.grpc_port)]
            return supervise(program, count, listen(ALL_INTERFACES, options.port))
        _import_without_collecting()
        from windlass_infer.process import serve_model

        serve_model(options.port, options.grpc_port, crew)
    except WindlassError as error:
        _log.error("%s", error.message, extra={"reason": error.reason})
        _leave_message(error)
        return error.exit_code
    return 0


def _import_without_collecting() -> None:
    """Import what serves, which a parent does not need. All of it stays, so that looking for garbage in it, again and again
    while it grows, finds nothing and takes a tenth of the start."""
    gc.disable()
    try:
        import windlass_infer.process  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _process_count() -> int:
    """What the spec asks for, else one for each core; a spec that cannot be read is reported by the process that serves."""
    with suppress(ValueError, AttributeError):
        asked = json.loads(os.environ.get(RUN_SPEC_VARIABLE, "")).get("processes")
        if isinstance(asked, int) and asked > 0:
            return asked
    return process_count(cpu_limit())


def _run(options: argparse.Namespace) -> int:
    from windlass_core.run import main_run  # what a server does not need
    from windlass_infer.batch.command import spec_of
    from windlass_infer.batch.run import execute

    return main_run(SERVICE, execute, port=options.port, read=lambda: spec_of(options, os.environ))


def _leave_message(error: WindlassError) -> None:
    from windlass_core.contracts import RunResult  # as above
    from windlass_core.run import leave_message

    leave_message(RunResult(outcome="Failed", reason=error.reason, message=error.message), os.environ)


if __name__ == "__main__":
    sys.exit(main())
