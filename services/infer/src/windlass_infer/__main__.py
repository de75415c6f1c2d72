"""The door of the service: `windlass-infer serve`.

Exit codes: 0 when it was asked to stop and every request in flight was answered; else the code of the error (see
`windlass_core.errors`), whose reason and sentence stand in the termination message for the operator.
"""

import argparse
import logging
import os
import sys

from windlass_core import log
from windlass_core.contracts import RUN_PORT, InferServe, RunResult
from windlass_core.errors import BadConfiguration, WindlassError
from windlass_core.run import leave_message, read_spec
from windlass_core.serving import serve
from windlass_core.store import Store
from windlass_infer.app import create
from windlass_infer.service import Service

SERVICE = "windlass-infer"

_log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Serve the model that WINDLASS_RUN_SPEC names until SIGTERM."""
    parser = argparse.ArgumentParser(prog=SERVICE, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve", help="serve the model that WINDLASS_RUN_SPEC names until SIGTERM")
    command.add_argument("--port", type=int, default=RUN_PORT, help="port to listen on (%(default)s)")
    options = parser.parse_args(arguments)
    log.configure(SERVICE)
    try:
        _serve(options.port)
    except WindlassError as error:
        _log.error("%s", error.message, extra={"reason": error.reason})
        leave_message(RunResult(outcome="Failed", reason=error.reason, message=error.message), os.environ)
        return error.exit_code
    return 0


def _serve(port: int) -> None:
    spec = read_spec(os.environ)
    if not isinstance(spec, InferServe):
        raise BadConfiguration(f"{SERVICE} serves models; the run is of kind '{spec.kind}'")
    service = Service(spec, lambda: Store.open(spec.namespace))
    serve(create(service), port, on_drain=service.drain, until=lambda: service.failure is not None)
    if service.failure:
        raise service.failure


if __name__ == "__main__":
    sys.exit(main())
