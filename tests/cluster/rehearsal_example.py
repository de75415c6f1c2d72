"""`rehearse --example`: shows on a real machine that a whole `make up` ends with predictions, however the last one ended.

It works in a copy of the checkout, as somebody who has just cloned it, and cuts `make up` short wherever it does something
of another kind: makes the environment, starts the cluster, builds, pushes and pulls images, runs helm, uploads, waits.
Objects of a cluster that runs are lost. Must not know: how any of it is done; it reads what `make up` says.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cgroups
import registry
from console import ClusterError, step
from layout import REPOSITORY, Layout
from shell import last_lines, run
from watched import Watched

SHARED_MODULE = Path("services/core/src/windlass_core/__init__.py")  # in every image of ours
WHOLE_SECONDS = 600.0  # longer than any takes, torch to be pushed and pulled included; how fast it is others measure
MARKER_SECONDS = 300.0
INTERRUPT_SECONDS = 60.0  # from Ctrl-C to the shell's prompt, a build that clears up after itself included
DOWN_SECONDS = 120.0
GIT_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """The copy of the checkout, and the folders of the cluster."""

    checkout: Path
    layout: Layout


def kill_cluster(_: Place) -> None:
    """End every process of the cluster by SIGKILL."""
    cgroups.kill_all()


def remove_environment(place: Place) -> None:
    """Have the Python environment made anew."""
    shutil.rmtree(place.checkout / ".venv", ignore_errors=True)


def change_code(place: Place) -> None:
    """Have every image of ours differ from all that were built."""
    changed = place.checkout / SHARED_MODULE
    changed.write_text(f"{changed.read_text()}# rehearsal {os.urandom(8).hex()}\n")


def empty_registry(place: Place) -> None:
    """End the cluster and drop every image from its registry, so that each layer must be pushed again."""
    kill_cluster(place)
    shutil.rmtree(registry.storage(place.layout), ignore_errors=True)


@dataclass(frozen=True)
class Cut:
    """One `make up` that is not let end: how long after which text of its output, and by which signal to all of it."""

    after: str
    seconds: float
    number: signal.Signals
    before: tuple[Callable[[Place], None], ...] = ()
    cluster_too: bool = False


INT, KILL = signal.SIGINT, signal.SIGKILL
CUTS = (
    Cut("==> Making .venv", 1.0, KILL),
    Cut("==> Installing scikit-learn", 0.5, KILL, before=(remove_environment,)),
    Cut("Image registry on", 0.1, INT, before=(kill_cluster,)),
    Cut("Network, certificates, configuration", 0.5, KILL, before=(kill_cluster,)),
    Cut("etcd, API server", 0.5, KILL, before=(kill_cluster,), cluster_too=True),
    Cut("etcd, API server", 1.5, INT, before=(kill_cluster,)),
    Cut("the installer that they share", 1.0, KILL, before=(change_code,)),
    Cut("the installer that they share", 2.5, INT, before=(kill_cluster, change_code)),
    Cut("Image operator: build", 0.2, KILL, before=(change_code,), cluster_too=True),
    Cut("Image train: push", 12.0, KILL, before=(empty_registry,)),
    Cut("Image train: push", 0.5, INT, before=(change_code,)),
    Cut("pull to the node", 0.0, KILL, before=(change_code,)),
    Cut("==> Installing the chart", 1.0, KILL, before=(kill_cluster,)),
    Cut("==> Installing the chart", 2.0, INT, before=(kill_cluster,)),
    Cut("==> Installing the chart", 1.0, KILL, before=(change_code,)),
    Cut("==> Installing the chart", 3.0, KILL, before=(kill_cluster,), cluster_too=True),
    Cut("==> Uploading", 0.5, KILL, before=(kill_cluster,)),
    Cut("==> Uploading", 0.7, INT),
    Cut("==> Training", 1.0, KILL, before=(kill_cluster,)),
    Cut("trainingjob/digits: Running", 1.0, INT, before=(kill_cluster,)),
    Cut("trainingjob/digits: Running", 1.0, KILL, before=(kill_cluster,), cluster_too=True),
)


def rehearse(layout: Layout) -> None:
    """Run through everything. Raises ClusterError at the first thing that is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="windlass-rehearsal-") as folder:
        place = Place(Path(folder), layout)
        _copy_checkout(place.checkout)
        _down(place)
        for cut in CUTS:
            for prepare in cut.before:
                prepare(place)
            _cut_short(cut, place)
            _whole("make up after that", place)
        _whole("make up again", place)
        kill_cluster(place)
        _down(place)


def _copy_checkout(target: Path) -> None:
    """Copy what git knows of the working tree, and what is new in it, as it stands now."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in run(command, timeout_seconds=GIT_SECONDS).split("\0"):
        if name and (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def _cut_short(cut: Cut, place: Place) -> None:
    also = " and to the whole cluster" if cut.cluster_too else ""
    with step(f"make up, {cut.number.name}{also} {cut.seconds} s after `{cut.after}`", slow=True):
        watched = Watched(["make", "up"], place.checkout)
        try:
            if not watched.reaches(cut.after, MARKER_SECONDS):
                raise ClusterError(f"`make up` did not come to `{cut.after}`:\n{last_lines(watched.said())}")
            if watched.ends(cut.seconds):
                raise ClusterError(f"`make up` ended less than {cut.seconds} s after `{cut.after}`.")
            watched.send(cut.number)
            if cut.cluster_too:
                cgroups.kill_all()
            if not watched.ends(INTERRUPT_SECONDS):
                raise ClusterError(f"`make up` goes on {INTERRUPT_SECONDS:.0f} s after {cut.number.name}.")
        finally:
            watched.stop()
    if "Traceback" in watched.said():
        raise ClusterError(f"`make up` ended with a traceback:\n{watched.said()}")


def _whole(what: str, place: Place) -> None:
    with step(what) as progress:
        watched = Watched(["make", "up"], place.checkout, progress)
        try:
            in_time = watched.ends(WHOLE_SECONDS)
        finally:
            watched.stop()
    said = watched.said()
    if not in_time:
        raise ClusterError(f"{what}: did not end within {WHOLE_SECONDS:.0f} s. It said:\n{said}")
    if watched.exit_code != 0 or not predicted(said):
        raise ClusterError(f"{what}: did not end with predictions, but with exit code {watched.exit_code}. It said:\n{said}")


def predicted(said: str) -> bool:
    """Whether the output of `make up` shows a prediction for each of the held-out images, of which there is at least one."""
    shown = [re.search(rf"^ +{name} +([\d ]+)$", said, re.MULTILINE) for name in ("true label", "predicted")]
    counts = {len(line[1].split()) for line in shown if line}
    return all(shown) and len(counts) == 1


def _down(place: Place) -> None:
    """Cut `make down` short as well; the next one must leave nothing."""
    with step("make down, SIGKILL after 0.5 s"):
        watched = Watched(["make", "down"], place.checkout)
        watched.ends(0.5)
        watched.stop()
    with step("make down"):
        run(["make", "down"], cwd=place.checkout, timeout_seconds=DOWN_SECONDS)
    run(["python3", "tests/cluster", "leaks"], cwd=place.checkout, timeout_seconds=DOWN_SECONDS)
