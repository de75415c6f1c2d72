"""Waits until the API server serves our own kinds, because kopf asks once what there is to watch, and never again.

Helm makes the CRDs and the operator in one go, and an API server needs a moment to serve what a CRD describes. An operator that
came first would watch nothing for ever.
"""

import asyncio
import logging
from itertools import count
from typing import Protocol

from windlass_core.resources import API_GROUP, API_VERSION
from windlass_operator.api import PARENTS, ApiError, Kind, Manifest
from windlass_operator.queue import Backoff

# Short at first, as the server is usually ready within a second; later now and then, as it takes a person to do something.
PAUSES = Backoff(first=0.1, largest=2.0)

_log = logging.getLogger(__name__)


class Served(Protocol):
    """What is asked of the API server."""

    async def served(self, group: str, version: str) -> frozenset[str]:
        """Plurals of the kinds that can be watched."""
        ...

    async def list(
        self, kind: Kind, namespace: str | None, *, metadata_only: bool = False, at_most: int | None = None
    ) -> "list[Manifest]":
        """Objects of a kind."""
        ...


async def wait_until_served(cluster: Served, namespaces: tuple[str, ...]) -> None:
    """Return when all of our kinds can be listed; until then the log says what is missing, once.

    It waits for as long as it takes: nothing is gained by a restart, and the pod is not ready meanwhile.

    Args:
        namespaces: where to list; none means everywhere.
    """
    told = ""
    for attempt in count(1):
        why = await _hindrance(cluster, namespaces or (None,))
        if not why:
            return
        if why != told:
            _log.warning("the operator waits: %s", why)
            told = why
        await asyncio.sleep(PAUSES.seconds(attempt, chance=0.0))


async def _hindrance(cluster: Served, namespaces: tuple[str | None, ...]) -> str:
    """Why the kinds cannot be watched now; "" when they can."""
    try:
        missing = {kind.plural for kind in PARENTS} - await cluster.served(API_GROUP, API_VERSION)
        if missing:
            return (
                f"the cluster does not serve {', '.join(sorted(missing))} of {API_GROUP}/{API_VERSION}; are the CRDs installed?"
            )
        # The server prepares to watch a kind when it is first asked for it, so that this has kopf wait less.
        for kind in PARENTS:
            for namespace in namespaces:
                await cluster.list(kind, namespace, metadata_only=True, at_most=1)
    except ApiError as error:
        return error.message
    return ""
