"""Pods of a training run as processes on this machine, and a stand-in for the Job controller that replaces them.

A pod is `windlass-train run` in a session of its own, so that killing the pod kills all its processes at once, as the end of a
real pod does. Pods meet on a free port of the loopback.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from children import bound_to_us, free_port

from windlass_core.contracts import RunResult, TrainRun

T = TypeVar("T")

# Ends that a Job does not answer with another pod.
FINAL_CODES = (0, 40, 41, 42, 43)
POLL_SECONDS = 0.05


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float) -> T:
    """What `look` gives as soon as it is not None; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass(eq=False)
class Pod:
    """One process of `windlass-train run`, and what it leaves."""

    index: int
    process: "subprocess.Popen[bytes]"
    port: int
    termination_log: Path
    output: Path

    def progress(self) -> dict[str, Any] | None:
        """GET /progress, or None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=2) as response:
                return dict(json.load(response))
        except OSError:
            return None

    def result(self) -> RunResult | None:
        """Its termination message."""
        text = self.termination_log.read_text()
        return RunResult.model_validate_json(text) if text else None

    def children(self) -> list[int]:
        """Ids of all processes below it."""
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, left = [], [self.process.pid]
        while left:
            below = parents.get(left.pop(), [])
            found += below
            left += below
        return found

    def worker(self) -> int:
        """Id of its worker: the process forked last."""
        return max(self.children(), key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to all its processes: the end of a pod."""
        os.killpg(self.process.pid, number)


@dataclass
class Job:
    """Keeps one pod of a run for each worker, as an Indexed Job does."""

    run: TrainRun
    environment: dict[str, str]
    folder: Path
    pods: dict[int, Pod] = field(default_factory=dict)
    ended: list[tuple[int, int]] = field(default_factory=list)
    started: int = 0
    _noted: list[Pod] = field(default_factory=list)
    _port: int = field(default_factory=free_port)

    def __enter__(self) -> "Job":
        for index in range(self.run.spec.workers):
            self.start(index)
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods.values():
            if pod.process.poll() is None:
                pod.kill()
                pod.process.wait()

    def start(self, index: int) -> Pod:
        """Start the pod of an index."""
        self.started += 1
        name = f"pod-{index}-{self.started}"
        termination_log = self.folder / f"{name}.termination"
        termination_log.touch()
        port = free_port()
        environment = {
            **os.environ,
            **self.environment,
            "WINDLASS_RUN_SPEC": self.run.to_json_text(),
            "WINDLASS_TERMINATION_LOG": str(termination_log),
            "WINDLASS_RENDEZVOUS_PORT": str(self._port),
            "WINDLASS_RUN_PORT": str(port),
            "JOB_COMPLETION_INDEX": str(index),
            "POD_IP": "127.0.0.1",
        }
        output = self.folder / f"{name}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                bound_to_us([sys.executable, "-m", "windlass_train", "run"]),
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.pods[index] = Pod(index, process, port, termination_log, output)
        return self.pods[index]

    def wait_progress(self, what: str, holds: Callable[[dict[str, Any]], bool], *, index: int = 0, seconds: float = 60) -> None:
        """Wait until /progress of a pod says something; pods that end are replaced meanwhile."""

        def look() -> bool | None:
            self.replace_ended()
            progress = self.pods[index].progress()
            return True if progress and holds(progress) else None

        wait_for(f"{what}; {self.logs()}", look, seconds=seconds)

    def log_lines(self, message: str) -> list[dict[str, Any]]:
        """The records with this message that all pods have logged so far, in order of time."""
        lines = [line for path in self.folder.glob("pod-*.log") for line in path.read_text().splitlines()]
        records = [json.loads(line) for line in lines if line.startswith("{") and f'"{message}"' in line]
        return sorted(records, key=lambda record: str(record["time"]))

    def replace_ended(self) -> None:
        """Note pods that ended, and start new ones for those that did not end for good."""
        for index, pod in list(self.pods.items()):
            code = pod.process.poll()
            if code is None or pod in self._noted:
                continue
            self._noted.append(pod)
            self.ended.append((index, code))
            if code not in FINAL_CODES:
                self.start(index)

    def finish(self, *, seconds: float = 150) -> dict[int, RunResult | None]:
        """Wait until all pods have ended for good.

        Returns:
            What each left.
        """

        def look() -> bool | None:
            self.replace_ended()
            return all(pod.process.poll() in FINAL_CODES for pod in self.pods.values()) or None

        wait_for(f"all pods end; {self.logs()}", look, seconds=seconds)
        self.replace_ended()
        return {index: pod.result() for index, pod in self.pods.items()}

    def logs(self) -> str:
        """Where the output of all pods is."""
        return f"logs in {self.folder}"
