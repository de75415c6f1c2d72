"""kubectl for tests: one namespace, objects as dicts, waiting with a deadline. Knows nothing but KUBECONFIG."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml
from waiting import until

Object = dict[str, Any]

SYSTEM_NAMESPACE = "windlass-system"
POLL_SECONDS = 0.3

eventually = partial(until, pause=POLL_SECONDS)


class KubectlError(AssertionError):
    """kubectl refused; the message is what it said."""


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
    """Output of one kubectl command.

    Raises:
        KubectlError: it ended with an error.
    """
    assert os.environ.get("KUBECONFIG"), 'KUBECONFIG is not set: eval "$(make env)" or run make e2e'
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Namespace:
    """One namespace of the cluster."""

    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Output of one kubectl command in this namespace."""
        return kubectl("--namespace", self.name, *arguments, stdin=stdin, seconds=seconds)

    def apply(self, *objects: Object) -> None:
        """Apply objects as a user does."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def delete(self, kind: str, name: str, *options: str) -> None:
        """Delete one object; one that is gone is no error."""
        self.kubectl("delete", kind, name, "--ignore-not-found", *options, seconds=120)

    def get(self, kind: str, name: str) -> Object | None:
        """One object, or None."""
        text = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        found: Object | None = json.loads(text) if text else None
        return found

    def list(self, kinds: str, selector: str = "") -> Sequence[Object]:
        """Objects of the kinds, by label."""
        items: list[Object] = json.loads(self.kubectl("get", kinds, "-l", selector, "-o", "json"))["items"]
        return items

    def wait(
        self, kind: str, name: str, until: Callable[[Object], bool], *, seconds: float, what: str = "what was awaited"
    ) -> Object:
        """The object as soon as `until` is true of it.

        Raises:
            AssertionError: the deadline passed; the message holds the object's status, events and pods.
        """
        deadline = time.monotonic() + seconds
        found = None
        while time.monotonic() < deadline:
            found = self.get(kind, name)
            if found is not None and until(found):
                return found
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{kind}/{name}: {what} did not come within {seconds:.0f} s\n{self.describe(found)}")

    def wait_condition(self, kind: str, name: str, condition: str, status: str = "True", *, seconds: float) -> Object:
        """The object as soon as the condition has the status for the current generation."""
        return self.wait(
            kind, name, lambda item: current(item, condition) == status, seconds=seconds, what=f"{condition}={status}"
        )

    def wait_reason(self, kind: str, name: str, condition: str, reason: str, *, seconds: float) -> Object:
        """The object as soon as the condition has the reason."""
        return self.wait(
            kind, name, lambda item: condition_of(item, condition).get("reason") == reason, seconds=seconds, what=reason
        )

    def describe(self, found: Object | None) -> str:
        """What a person would look at when a test fails."""
        status = yaml.safe_dump((found or {}).get("status", {}))
        pods = self.kubectl("get", "pods", "-o", "wide")
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp").splitlines()[-25:]
        return "\n".join([status, pods, *events])

    @contextmanager
    def forward(self, target: str, port: int = 80) -> Iterator[str]:
        """A local URL that reaches a port of a Service or pod while the context lasts."""
        command = ["kubectl", "port-forward", "--namespace", self.name, target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                address = re.match(r"Forwarding from (127\.0\.0\.1:\d+) ", said)
                assert address, f"{' '.join(command)}: {said}{process.stdout.read()}"
                # It names each connection; were nobody to read that, it would stop at a full pipe.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield f"http://{address[1]}"
            finally:
                process.terminate()


Upload = Callable[[Namespace, str, bytes], None]


def condition_of(item: Object, kind: str) -> Mapping[str, Any]:
    """The condition of that type, or an empty one."""
    return next((entry for entry in item.get("status", {}).get("conditions", []) if entry["type"] == kind), {})


def current(item: Object, kind: str) -> str | None:
    """Status of a condition that speaks of the current generation, else None."""
    entry = condition_of(item, kind)
    return entry.get("status") if entry.get("observedGeneration") == item["metadata"]["generation"] else None


def children(namespace: Namespace) -> list[str]:
    """Names of everything that Windlass makes for its objects and that a namespace holds now."""
    kinds = "jobs,pods,services,deployments,replicasets,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies"
    return namespace.kubectl("get", kinds, "-o", "name").split()
