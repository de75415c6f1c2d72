"""The operator's process beside a control plane, and a namespace whose pods are played: what tests over the wire are made of.

Whatever fails, the processes end with the test, and none takes the port of another.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from children import bound_to_us, free_port
from control_plane import ControlPlane
from waiting import until

from windlass_operator.api import Manifest

# Within which all that is waited for comes. The operator's start alone is over a second of computing, and tests share the
# processors with whatever else the machine does.
SECONDS = 50.0

eventually = partial(until, seconds=SECONDS, pause=0.05)


class OperatorProcess:
    """The operator as it runs in its pod.

    Args:
        folder: of its logs; a pipe that nobody reads would stop it once full.
    """

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._begun: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(plane.kubeconfig),
            "WINDLASS_IMAGE_PREPROCESS": "preprocess:1",
            "WINDLASS_IMAGE_TRAIN": "train:1",
            "WINDLASS_IMAGE_INFER": "infer:1",
            "WINDLASS_IMAGE_INFER_TORCH": "infer-torch:1",
            "WINDLASS_STORE_URL": "s3://windlass",
            "AWS_SECRET_ACCESS_KEY": "hush-hush",
            "WINDLASS_PORT": str(self._port),
        }

    def launch(self) -> None:
        """Begin a process, beside those that run."""
        with self._log(len(self._begun)).open("wb") as log:
            command = bound_to_us([sys.executable, "-m", "windlass_operator"])
            self._begun.append(subprocess.Popen(command, env=self._environment, stderr=log))

    def start(self) -> None:
        """Begin a process, and wait until it is ready."""
        self.launch()
        eventually(self.is_ready, "the operator is ready", self.log)

    def readiness(self) -> tuple[int, str]:
        """Status and text of the answer to the readiness probe; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as answer:
                return answer.status, json.load(answer)["status"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)["status"]
        except OSError:
            assert self._begun[-1].poll() is None, self.log()
            return 0, ""

    def is_ready(self) -> bool:
        """Whether its pod would be ready."""
        return self.readiness()[0] == 200

    def log(self) -> str:
        """What the newest process has said."""
        return self._log(len(self._begun) - 1).read_text()

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Exit code and log of the newest process, once it has ended."""
        self._begun[-1].send_signal(how)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Exit code and log of the newest process, once it has ended by itself."""
        return self._begun[-1].wait(SECONDS), self.log()

    def kill(self) -> None:
        """End all that still run."""
        for process in self._begun:
            process.kill()
            process.wait(SECONDS)

    def _log(self, number: int) -> Path:
        return self._folder / f"operator-{number}.log"


@contextmanager
def operator_process(plane: ControlPlane, folder: Path) -> Iterator[OperatorProcess]:
    """An operator that is yet to be started, and that ends with the context."""
    made = OperatorProcess(plane, folder)
    try:
        yield made
    finally:
        made.kill()


class Team:
    """A namespace of its own for one test."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        self._plane, self._name = plane, name
        plane.kubectl("create", "namespace", name)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Output of one kubectl command in the namespace."""
        return self._plane.kubectl("--namespace", self._name, *arguments, stdin=stdin)

    def apply(self, *manifests: Manifest) -> None:
        """Make or change objects, without their status."""
        for manifest in manifests:
            plain = {**manifest, "metadata": {"name": manifest["metadata"]["name"]}}
            plain.pop("status", None)
            self.kubectl("apply", "-f", "-", stdin=json.dumps(plain))

    def get(self, kind: str, name: str) -> Any:
        """The object, None when there is none."""
        text = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text else None

    def all(self, kind: str, selector: str = "") -> list[Any]:
        """The objects of a kind that match."""
        found: list[Any] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def patch(self, kind: str, name: str, patch: Any, *options: str) -> None:
        """Merge into an object."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch), *options)

    def pods(self, kind: str, name: str, count: int) -> list[str]:
        """Names of an object's pods, as soon as there are so many."""
        selector = f"windlass.dev/{kind}={name}"
        eventually(lambda: len(self.all("pods", selector)) == count, f"{count} pods of {kind} {name}")
        return sorted(pod["metadata"]["name"] for pod in self.all("pods", selector))

    def play(self, pod: str, status: Manifest) -> None:
        """What a kubelet writes."""
        container = self.get("pod", pod)["spec"]["containers"][0]["name"]
        filled = [
            {"name": container, "image": "x", "imageID": "x", "restartCount": 0, "ready": False, **entry}
            for entry in status.get("containerStatuses", [])
        ]
        self.patch("pod", pod, {"status": {**status, "containerStatuses": filled}}, "--subresource=status")

    def wait(self, kind: str, name: str, reason: str) -> Any:
        """The object as soon as its first condition has the reason."""

        def there() -> bool:
            conditions = ((self.get(kind, name) or {}).get("status") or {}).get("conditions") or [{}]
            return bool(conditions[0].get("reason") == reason)

        eventually(there, f"{kind} {name}: {reason}", lambda: self.get(kind, name))
        return self.get(kind, name)
