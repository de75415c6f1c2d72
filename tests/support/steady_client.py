"""A client that asks a service without pause, on several connections, and tells every half second how it fares.

Runs in a pod beside the service, as a client in the cluster does, from the image of the service itself: standard library only.

    python3 steady_client.py HOST PATH BODY [CONNECTIONS]

The first of each two connections serves CONNECTION_REQUESTS requests, so that the client meets every change of endpoints; the
other one as many as the server lets it. An answer that says `Connection: close` is obeyed by both. Nothing is tried again: what
fails is told. It never stops.

Each line is JSON: `answers` (count by model version), `newest` (version of the last answer), `changed` (version to the time of
its last answer, in seconds since 1970), `failed` and the first `failures`.
"""

import http.client
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

CONNECTION_REQUESTS = 100
REPORT_SECONDS = 0.5
TIMEOUT_SECONDS = 20
FAILURES_SHOWN = 5


def client_pod(image: str, host: str, body: str, connections: int) -> dict[str, object]:
    """A pod `client` that runs this file; it passes the restricted Pod Security Standard.

    Args:
        image: any with Python.
        host: name of the InferenceService.
        body: of each `:predict` call.
        connections: how many ask at the same time.
    """
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    command = ["python3", "-c", Path(__file__).read_text(), host, f"/v1/models/{host}:predict", body, str(connections)]
    container = {"name": "client", "image": image, "command": command, "securityContext": security}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}


class Tally:
    """What all connections have seen together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, int] = {}
        self._changed: dict[str, float] = {}
        self._newest: int | None = None
        self._failures: list[str] = []

    def answered(self, version: str) -> None:
        """Count an answer of a version."""
        with self._lock:
            self._answers[version] = self._answers.get(version, 0) + 1
            self._changed[version] = time.time()
            self._newest = int(version)

    def failed(self, how: str) -> None:
        """Count a request without a good answer."""
        with self._lock:
            self._failures.append(f"{time.time():.3f} {how}")

    def line(self) -> str:
        """The report."""
        with self._lock:
            return json.dumps(
                {
                    "answers": self._answers,
                    "newest": self._newest,
                    "changed": self._changed,
                    "failed": len(self._failures),
                    "failures": self._failures[:FAILURES_SHOWN],
                }
            )


def ask(host: str, path: str, body: bytes, tally: Tally, requests: Iterable[int]) -> None:
    """One connection after the other, for ever, each for so many requests."""
    while True:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
        try:
            for _ in requests:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                version = answer.getheader("X-Model-Version")
                if answer.status == http.HTTPStatus.OK and version:
                    tally.answered(version)
                else:
                    tally.failed(f"{answer.status} {text[:200]!r}")
                if answer.will_close:
                    break
        except (OSError, http.client.HTTPException) as error:
            tally.failed(repr(error))
        finally:
            connection.close()


def main(host: str, path: str, body: str, connections: str = "1") -> None:
    """Ask and tell."""
    tally = Tally()
    for number in range(int(connections)):
        requests: Iterable[int] = range(CONNECTION_REQUESTS) if number % 2 == 0 else itertools.count()
        threading.Thread(target=ask, args=(host, path, body.encode(), tally, requests), daemon=True).start()
    while True:
        time.sleep(REPORT_SECONDS)
        print(tally.line(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
