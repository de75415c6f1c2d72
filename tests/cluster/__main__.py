"""`python3 tests/cluster up|down|env|status|logs|...`: a local Kubernetes cluster for Windlass.

CLUSTER=auto|bare|kind|minikube|current says which kind of cluster; see `choose.py`. Runs with nothing but Python, from
3.11 on, because it runs before anything else is installed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import bare
import binaries
import checks
import choose
import images
import logs
import rehearsal
import rehearsal_example
import together
import user_shell
from console import ClusterError, say
from layout import Layout, layout
from lock import exclusive

INTERRUPTED = 130  # what shells use for a command that ended by SIGINT


def up(where: Layout, arguments: argparse.Namespace) -> int:
    """Have a cluster run; with --images, and all images where it finds them."""
    with exclusive(where.lock):
        backend = choose.for_up(where)
        choose.remember(where, backend)  # first, so that `down` knows what an interrupted start was starting
        if arguments.images:
            together.up_with_images(where, backend)
        else:
            backend.up(where)
    return 0


def down(where: Layout, _: argparse.Namespace) -> int:
    """Remove the cluster; caches stay."""
    with exclusive(where.lock):
        choose.for_use(where).down(where)
        choose.forget(where)
    return 0


def env(where: Layout, _: argparse.Namespace) -> int:
    """Print shell code that makes kubectl and helm work: eval "$(python3 tests/cluster env)"."""
    backend = choose.for_use(where)
    say(user_shell.exports(backend.kubeconfig(where), backend.program_folders(where)))
    return 0


def status(where: Layout, _: argparse.Namespace) -> int:
    """Say what runs; exit 1 when the cluster does not."""
    running, text = choose.for_use(where).status(where)
    say(text)
    return 0 if running else 1


def show_logs(where: Layout, arguments: argparse.Namespace) -> int:
    """Name the components' logs, or print the end of some of them."""
    say(logs.show(where, arguments.component, arguments.lines))
    return 0


def build_images(where: Layout, arguments: argparse.Namespace) -> int:
    """Build and push the images, and write the chart's values that name them."""
    images.build_and_push(where, listed=not arguments.unlisted)
    return 0


def images_file(where: Layout, _: argparse.Namespace) -> int:
    """Print the path of the chart's values that name the images."""
    say(str(images.values_file(where)))
    return 0


def build_binaries(where: Layout, _: argparse.Namespace) -> int:
    """Build Kubernetes, helm and versitygw from source, without starting anything."""
    binaries.build_binaries(where)
    return 0


def leaks(where: Layout, _: argparse.Namespace) -> int:
    """Print what of the bare cluster is on this machine; exit 1 when anything is."""
    found = bare.leaks(where)
    say("\n".join(found) if found else "Nothing of the cluster is on this machine.")
    return 1 if found else 0


def rehearse(where: Layout, arguments: argparse.Namespace) -> int:
    """Show that the bare cluster starts from any state and leaves nothing; ends a cluster that runs."""
    checks.check_root()
    os.environ["CLUSTER"] = bare.NAME  # for every command that the rehearsal calls, whatever else the machine offers
    if arguments.example:
        rehearsal_example.rehearse(where)
    else:
        rehearsal.rehearse(where)
    return 0


VERBS: dict[str, Callable[[Layout, argparse.Namespace], int]] = {
    "up": up,
    "down": down,
    "env": env,
    "status": status,
    "logs": show_logs,
    "binaries": build_binaries,
    "images": build_images,
    "images-file": images_file,
    "leaks": leaks,
    "rehearse": rehearse,
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests/cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(VERBS))
    for name, function in VERBS.items():
        verb = verbs.add_parser(name, help=function.__doc__, description=function.__doc__)
        if name == "up":
            verb.add_argument("--images", action="store_true", help="build and push the images as well, at the same time")
        if name == "images":
            verb.add_argument("--unlisted", action="store_true", help="do not print their names and sizes at the end")
        if name == "rehearse":
            verb.add_argument("--example", action="store_true", help="cut short whole runs of `make up` instead")
        if name == "logs":
            verb.add_argument("component", nargs="*", help="components to print; none: the list of them")
            verb.add_argument("--lines", type=int, default=50, help="lines of each (default: %(default)s)")
    return parser.parse_args(arguments)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run one verb; the exit code."""
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, _interrupt)  # like Ctrl-C: stop at once, the next `up` or `down` clears what is half done
    try:
        return VERBS[arguments.verb](layout(), arguments)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a file system that is read-only: the system's own words say it best
        print(f"The system refused: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. `up` starts again and uses what is done; `down` removes what was started.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
