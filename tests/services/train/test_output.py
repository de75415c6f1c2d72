"""What a pod of a run writes, however it ends: lines of JSON alone, so that what reads logs need not guess.

Processes of a pod outlive its program by a moment, Python's resource tracker among them; so each test waits for all of them.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from training_pods import Job, Pod, wait_for
from training_runs import publish_digits, training_run

from windlass_core.store import Store

pytestmark = pytest.mark.timeout(180)

TRACKER = b"multiprocessing.resource_tracker"
# More than any machine does before it is disturbed.
ENDLESS: dict[str, Any] = {"parameters": {"hidden": [512, 512]}, "stop": {"epochs": 100_000}, "restarts": {"max": 0}}


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """A pod that trains."""
    environment = {"WINDLASS_STORE_URL": f"file://{tmp_path}/store"}
    dataset = publish_digits(Store.open("default", environment), tmp_path / "digits", rows=400)
    with Job(training_run(dataset, **ENDLESS), environment, tmp_path) as job:
        job.wait_progress("training begins", lambda progress: progress["phase"] == "Training")
        yield job.pods[0]


def command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def runs(process: int) -> bool:
    """Whether it runs; one that has ended may wait for a parent to ask how."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


def kill_all_but_the_tracker(pod: Pod) -> None:
    """As the kernel may do it to a container: each process is killed on its own, and the tracker sees the others go."""
    for process in [pod.process.pid, *pod.children()]:
        if TRACKER not in command(process):
            os.kill(process, signal.SIGKILL)


# What happens to a pod, and the code it ends with.
ENDS: dict[str, tuple[Callable[[Pod], None], int]] = {
    "is killed": (kill_all_but_the_tracker, -signal.SIGKILL),
    "is told to leave": (lambda pod: pod.process.terminate(), 44),
    "loses its worker": (lambda pod: os.kill(pod.worker(), signal.SIGKILL), 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_pod_writes_json_alone_also_when_it(end: str, pod: Pod) -> None:
    processes = pod.children()
    assert [process for process in processes if TRACKER in command(process)], "the tracker is there"
    happen, code = ENDS[end]
    happen(pod)
    assert pod.process.wait(60) == code
    for process in processes:
        wait_for(f"process {process} ends", lambda process=process: not runs(process) or None, seconds=30)
    lines = pod.output.read_text().splitlines()
    assert lines
    assert [line for line in lines if not is_json(line)] == []
