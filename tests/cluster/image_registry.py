"""What the registry on the loopback holds, and what it should forget: asked by HTTP, without a client program.

Knows: four calls of the distribution protocol. Must not know: how images are built or pushed, or which ones to keep.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass

from console import ClusterError

TIMEOUT_SECONDS = 10.0
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Reference:
    """`registry/repository:tag`."""

    registry: str
    repository: str
    tag: str

    def __str__(self) -> str:
        """The name as every program takes it."""
        return f"{self.registry}/{self.repository}:{self.tag}"


def layers(image: Reference) -> dict[str, int] | None:
    """Digest to size of the image's layers as the registry stores them; None when it does not have the image.

    Raises ClusterError when the registry does not answer as one.
    """
    answer = _ask("GET", image.registry, f"/v2/{image.repository}/manifests/{image.tag}")
    if answer.status == http.HTTPStatus.NOT_FOUND:
        return None
    answer.need(http.HTTPStatus.OK)
    return {layer["digest"]: int(layer["size"]) for layer in json.loads(answer.body)["layers"]}


def tags(registry: str, repository: str) -> list[str]:
    """The tags of a repository. Raises ClusterError when the registry does not answer as one."""
    answer = _ask("GET", registry, f"/v2/{repository}/tags/list")
    if answer.status == http.HTTPStatus.NOT_FOUND:
        return []
    answer.need(http.HTTPStatus.OK)
    return json.loads(answer.body)["tags"] or []


def forget(old: Iterable[Reference], kept: Iterable[Reference]) -> int:
    """Remove tags, but for those that name the same content as one to keep; how many were removed.

    Their layers stay until the registry collects its garbage. Raises ClusterError when the registry does not answer as one.
    """
    needed = {_digest(image) for image in kept}
    forgotten = 0
    for image in old:
        digest = _digest(image)
        if digest is not None and digest not in needed:
            path = f"/v2/{image.repository}/manifests/{digest}"
            _ask("DELETE", image.registry, path).need(http.HTTPStatus.ACCEPTED, http.HTTPStatus.NOT_FOUND)
            forgotten += 1
    return forgotten


def _digest(image: Reference) -> str | None:
    answer = _ask("HEAD", image.registry, f"/v2/{image.repository}/manifests/{image.tag}")
    return answer.digest if answer.status == http.HTTPStatus.OK else None


@dataclass(frozen=True)
class _Answer:
    asked: str
    status: int
    digest: str | None
    body: bytes

    def need(self, *statuses: int) -> None:
        if self.status not in statuses:
            raise ClusterError(f"The image registry answered {self.status} to {self.asked}.")


def _ask(method: str, registry: str, path: str) -> _Answer:
    connection = http.client.HTTPConnection(registry, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers={"Accept": MANIFEST_TYPE})
        answer = connection.getresponse()
        return _Answer(f"{method} {registry}{path}", answer.status, answer.getheader("Docker-Content-Digest"), answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise ClusterError(f"The image registry on {registry} does not answer: {error}") from error
    finally:
        connection.close()
