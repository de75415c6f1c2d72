"""The cluster's API for benchmarks: objects by HTTP through `kubectl proxy`, and watches with the time of each event.

Knows KUBECONFIG only. Times are of one clock, this process's, so differences between them are fair.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
Object = dict[str, Any]
REQUEST_SECONDS = 30
LIMIT_SECONDS = 300  # for anything that is waited for


@dataclass
class Watch:
    """Events of one collection, in a thread, each with the monotonic time at which it came."""

    client: httpx.Client
    path: str
    events: list[tuple[float, Object]] = field(default_factory=list)

    def start(self) -> None:
        """Begin; the events of what exists already come first."""
        self._stopped = False
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        """Take no further events."""
        self._stopped = True

    def _read(self) -> None:
        for item in stream(self.client, self.path):
            if self._stopped:
                return
            self.events.append((time.monotonic(), item))

    def first(self, test: Any) -> float | None:
        """Time of the first event whose object passes the test."""
        return next((at for at, item in list(self.events) if test(item)), None)


def stream(client: httpx.Client, path: str) -> Iterator[Object]:
    """The objects of a collection as they are and as they change. It ends with the namespace's proxy.

    Raises:
        httpx.HTTPStatusError: the server refuses the watch.
    """
    broken = suppress(httpx.TransportError)
    with broken, client.stream("GET", path, params={"watch": "true"}, timeout=None) as watched:
        watched.raise_for_status()
        for line in watched.iter_lines():
            yield json.loads(line)["object"]


class Api:
    """One namespace's objects."""

    def __init__(self, url: str, namespace: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=REQUEST_SECONDS)
        self.namespace = namespace

    def create(self, group: str, plural: str, item: Object) -> float:
        """Create an object; returns when the answer came."""
        answer = self.client.post(self._path(group, plural), json=item)
        answer.raise_for_status()
        return time.monotonic()

    def patch(self, group: str, plural: str, name: str, patch: Object, subresource: str = "") -> None:
        """Change parts of an object by a JSON merge patch."""
        path = f"{self._path(group, plural)}/{name}" + (f"/{subresource}" if subresource else "")
        self.client.patch(path, json=patch, headers={"Content-Type": "application/merge-patch+json"}).raise_for_status()

    def get(self, group: str, plural: str, name: str) -> Object:
        """One object."""
        answer = self.client.get(f"{self._path(group, plural)}/{name}")
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    def watch(self, group: str, plural: str) -> Watch:
        """A started watch of all objects of a kind in the namespace."""
        watch = Watch(self.client, self._path(group, plural))
        watch.start()
        return watch

    def events(self, group: str, plural: str) -> Iterator[Object]:
        """The objects of a kind in the namespace as they are and as they change; see `stream`."""
        return stream(self.client, self._path(group, plural))

    def service(self, namespace: str, name: str, path: str) -> str:
        """URL path of a Service behind the API server's proxy."""
        return f"/api/v1/namespaces/{namespace}/services/{name}:80/proxy/{path}"

    def _path(self, group: str, plural: str) -> str:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/namespaces/{self.namespace}/{plural}"


def until(look: Callable[[], T | None], what: str, every: float = 0.05) -> T:
    """What `look` gives as soon as it gives something.

    Args:
        every: seconds between two looks.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(every)
    raise SystemExit(f"{what} did not come within {LIMIT_SECONDS} s")


@contextmanager
def fresh_namespace() -> Iterator[Api]:
    """The API of a namespace that exists while the context lasts."""
    name = f"bench-{time.time_ns() // 1_000_000}"
    command = ["kubectl", "proxy", "--port=0"]
    subprocess.run(["kubectl", "create", "namespace", name], check=True, stdout=subprocess.DEVNULL, timeout=REQUEST_SECONDS)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield Api(f"http://{proxy.stdout.readline().split()[-1]}", name)
        finally:
            proxy.terminate()
            delete = ["kubectl", "delete", "namespace", name, "--wait=false"]
            subprocess.run(delete, check=False, stdout=subprocess.DEVNULL, timeout=REQUEST_SECONDS)
