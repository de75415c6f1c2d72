"""Lists what is watched now and then: finds watch streams that went silent, and has every object looked at once in a while.

A stream is silent when a listing shows a version of an object that the stream has not brought by the time of the next listing.
A stream that began anew never tells what was deleted meanwhile; a listing does.
"""

import asyncio
import logging

from windlass_operator import metrics
from windlass_operator.api import PARENTS, WATCHED_CHILDREN, ApiError, Cluster, Key, Kind
from windlass_operator.intake import Intake, Keys
from windlass_operator.manifests import MANAGED_SELECTOR

# Seconds between listings; two in a row find a silent stream.
CHECK_SECONDS = 60.0
# Every so many listings all objects are looked at, whatever the streams said.
FULL_EVERY = 10

_log = logging.getLogger(__name__)

_Missed = frozenset[tuple[Kind, str, str, str]]


class Resync:
    """The periodic comparison of lists and streams.

    Args:
        namespaces: where to list; none means everywhere.
    """

    def __init__(self, cluster: Cluster, intake: Intake, keys: Keys, namespaces: tuple[str, ...]) -> None:
        self._cluster = cluster
        self._intake = intake
        self._keys = keys
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._missed: _Missed = frozenset()
        self._rounds = 0
        self.stale: frozenset[Kind] = frozenset()

    async def run(self) -> None:
        """Compare until cancelled. A cluster that does not answer is no fault of the streams."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.once()
            except ApiError as error:
                _log.warning("the periodic listing failed", extra={"error": error.message})

    async def once(self) -> None:
        """One listing of everything. What a stream has missed is looked at right away."""
        self._rounds += 1
        full = self._rounds % FULL_EVERY == 0
        missed: set[tuple[Kind, str, str, str]] = set()
        for kind in (*PARENTS, *WATCHED_CHILDREN):
            for namespace in self._namespaces:
                missed |= await self._compare(kind, namespace, full=full)
        self.stale = frozenset(entry[0] for entry in missed & self._missed)
        self._missed = frozenset(missed)
        metrics.STALE_STREAMS.set(len(self.stale))
        for kind in self.stale:
            _log.error("the watch stream of %s is silent", kind.plural)

    async def _compare(self, kind: Kind, namespace: str | None, *, full: bool) -> set[tuple[Kind, str, str, str]]:
        ours = kind in PARENTS
        # What is known before the question is asked must be in the answer, unless it was deleted.
        gone = {place for place in self._intake.known(kind) if namespace in (None, place[0])}
        selector = "" if ours else MANAGED_SELECTOR
        missed = set()
        for item in await self._cluster.list(kind, namespace, labels=selector, metadata_only=True):
            metadata = item["metadata"]
            place, name, version = metadata["namespace"], metadata["name"], metadata.get("resourceVersion", "")
            gone.discard((place, name))
            behind = self._intake.version(kind, place, name) != version
            if behind:
                missed.add((kind, place, name, version))
            if ours and (full or behind):
                self._keys.add(Key(kind.name, place, name))
        for place, name in gone:
            self._intake.gone(kind, place, name)
        return missed
