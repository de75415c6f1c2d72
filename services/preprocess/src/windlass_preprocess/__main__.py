"""`windlass-preprocess run` prepares one generation of a Dataset; `windlass-preprocess serve` is the API over data."""

import argparse
import sys


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="windlass-preprocess", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="prepare the Dataset in WINDLASS_RUN_SPEC")
    commands.add_parser("serve", help="serve the API over raw data and Dataset versions")
    if parser.parse_args().command == "run":
        sys.exit(_run())
    _serve()


def _run() -> int:
    from windlass_core.run import main_run
    from windlass_preprocess.pipeline import execute

    return main_run("preprocess", execute)


def _serve() -> None:
    from windlass_core import log
    from windlass_core.server import serve
    from windlass_preprocess.app import create

    log.configure("preprocess")
    serve(create())


if __name__ == "__main__":
    main()
