"""`windlass-train run` is one pod of a training run; `windlass-train serve` is the API over runs and models."""

import argparse
import logging
import os
import sys

from windlass_core.pod import RUN_PORT
from windlass_core.scratch import own_scratch


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="windlass-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="do this pod's part of the run in WINDLASS_RUN_SPEC")
    serve = commands.add_parser("serve", help="serve the API over runs and models")
    serve.add_argument("--port", type=int, default=RUN_PORT, help="port to listen on (%(default)s)")
    options = parser.parse_args()
    if options.command == "run":
        with own_scratch():
            code = _run()
        _end(code)
    sys.exit(_serve(options.port))


def _run() -> int:
    from windlass_train.entry import warm_up

    warm_up()
    # After the workers' server has begun its own imports: these take a while, too.
    from windlass_core.errors import BadConfiguration
    from windlass_core.run import main_run
    from windlass_train.launch import execute
    from windlass_train.pod import Pod

    try:
        port = Pod.from_environment(os.environ).run_port
    except BadConfiguration as error:
        print(error.message, file=sys.stderr)
        return error.exit_code
    return main_run("train", execute, port=port)


def _end(code: int) -> None:
    """Leave at once: a thread may still wait in the rendezvous, and the interpreter's own end would tear it out of C++ code."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve(port: int) -> int:
    from windlass_core import log
    from windlass_core.errors import WindlassError
    from windlass_core.server import serve
    from windlass_train.app import create

    log.configure("train")
    try:
        serve(create(), port)
    except WindlassError as error:
        logging.getLogger(__name__).error("%s", error.message, extra={"reason": error.reason})
        return error.exit_code
    return 0


if __name__ == "__main__":
    main()
