"""`rehearse`: shows on a real machine that the bare cluster starts from any state and leaves nothing.

It cuts starts short at points spread over their whole length, kills every process, starts twice in a row, and looks for
leaks at the end. Objects of a cluster that runs are lost. Must not know: how starting and removing are done.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import bare
import cgroups
import pause_image
from console import ClusterError, step
from layout import HERE, Layout
from shell import last_lines, run

START_TIMEOUT_SECONDS = 300.0
POD_TIMEOUT_SECONDS = 60
CUTS = 10  # starts that are cut short, at equal distances over the length of one that is not
RUNNING_LIMIT_SECONDS = 3.0  # `up` of a cluster that is up
WARM_LIMIT_SECONDS = 15.0  # `up` with full caches


def rehearse(layout: Layout) -> None:
    """Run through everything. Raises ClusterError at the first thing that is not as it should be."""
    bare.up(layout)  # fills the caches, so that what follows measures the cluster alone
    _down(layout)
    whole = _timed_up("Start with full caches", WARM_LIMIT_SECONDS)
    _run_pod(layout)
    _timed_up("Start again while it runs", RUNNING_LIMIT_SECONDS)
    _down(layout)
    for cut in range(1, CUTS + 1):
        number = signal.SIGKILL if cut % 2 else signal.SIGINT
        _cut_short(whole * cut / (CUTS + 1), number)
        if cut % 3 == 0:  # the others go on from what the last one left
            _down(layout)
    _timed_up("Start after interrupted starts", WARM_LIMIT_SECONDS)
    _run_pod(layout)
    _kill_everything()
    _timed_up("Start after every process was killed", WARM_LIMIT_SECONDS)
    _run_pod(layout)
    _kill_everything()
    _down(layout)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE), "up"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def _timed_up(what: str, limit_seconds: float) -> float:
    begin = time.monotonic()
    with step(what):
        process = _start()
        said, _ = process.communicate(timeout=START_TIMEOUT_SECONDS)
    seconds = time.monotonic() - begin
    if process.returncode != 0:
        raise ClusterError(f"{what}: `up` failed.\n{last_lines(said)}")
    if seconds > limit_seconds:
        raise ClusterError(f"{what}: took {seconds:.1f} s; {limit_seconds:.0f} s are allowed.\n{last_lines(said)}")
    return seconds


def _cut_short(after_seconds: float, number: signal.Signals) -> None:
    with step(f"Start, cut short by {number.name} after {after_seconds:.1f} s"):
        process = _start()
        try:
            process.communicate(timeout=after_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            process.communicate(timeout=START_TIMEOUT_SECONDS)


def _kill_everything() -> None:
    with step("SIGKILL to every process of the cluster"):
        cgroups.kill_all()


def _down(layout: Layout) -> None:
    bare.down(layout)
    left = bare.leaks(layout)
    if left:
        raise ClusterError("`down` left:\n" + "\n".join(left))


def _run_pod(layout: Layout) -> None:
    """Have a pod without rights run, with a volume of the default class."""
    kubectl = [str(bare.program_folders(layout)[0] / "kubectl"), "--kubeconfig", str(layout.kubeconfig)]
    manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": [_claim(), _pod()]})
    with step("A pod with a volume"):
        run([*kubectl, "apply", "-f", "-"], stdin=manifests, timeout_seconds=POD_TIMEOUT_SECONDS)
        run([*kubectl, "wait", "--for=condition=Ready", "pod/rehearsal", f"--timeout={POD_TIMEOUT_SECONDS}s"],
            timeout_seconds=2 * POD_TIMEOUT_SECONDS)  # fmt: skip


def _claim() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "rehearsal"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }


def _pod() -> dict[str, Any]:
    container = {
        "name": "pause",
        "image": pause_image.NAME,
        "imagePullPolicy": "Never",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "rehearsal"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rehearsal"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [volume]},
    }
