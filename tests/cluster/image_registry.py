"""What the registry on the loopback holds: asked by HTTP, without a client program.

Knows: two calls of the distribution protocol. Must not know: how images are built or pushed.
"""

from __future__ import annotations

import http.client
import json
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


def stored_bytes(image: Reference) -> int | None:
    """The size of the image's layers as the registry stores them; None when it does not have the image.

    Raises ClusterError when the registry does not answer as one.
    """
    connection = http.client.HTTPConnection(image.registry, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/v2/{image.repository}/manifests/{image.tag}", headers={"Accept": MANIFEST_TYPE})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ClusterError(f"The image registry on {image.registry} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    if answer.status != http.client.OK:
        raise ClusterError(f"The image registry on {image.registry} answered {answer.status} for {image}.")
    return sum(int(layer["size"]) for layer in json.loads(body)["layers"])
