"""`windlass-preprocess run` prepares one generation of a Dataset; `windlass-preprocess serve` is the API over data."""

import argparse
import logging
import sys

from windlass_core.contracts import RUN_PORT
from windlass_core.errors import WindlassError
from windlass_core.scratch import own_scratch

SERVICE = "preprocess"
# After SIGTERM an upload that is under way gets so long. With the delay and the linger of `server.py` it stays under the
# terminationGracePeriodSeconds of 60 that the chart gives this service.
DRAIN_SECONDS = 50


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    parser = argparse.ArgumentParser(prog="windlass-preprocess", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="prepare the Dataset in WINDLASS_RUN_SPEC")
    serve = commands.add_parser("serve", help="serve the API over raw data and Dataset versions")
    for command in (run, serve):
        command.add_argument("--port", type=int, default=RUN_PORT, help="port to listen on (%(default)s)")
    options = parser.parse_args(arguments)
    return _run(options.port) if options.command == "run" else _serve(options.port)


# Imports stand in the functions: an API that never prepares data, and a run that never serves it, start sooner and smaller.
def _run(port: int) -> int:
    from windlass_core.run import main_run
    from windlass_preprocess.pipeline import execute

    with own_scratch():
        return main_run(SERVICE, execute, port=port)


def _serve(port: int) -> int:
    from windlass_core import log
    from windlass_core.serving import serve
    from windlass_preprocess.app import create

    log.configure(SERVICE)
    try:
        serve(create(), port, drain=DRAIN_SECONDS)
    except WindlassError as error:
        logging.getLogger(__name__).error("%s", error.message, extra={"reason": error.reason})
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
