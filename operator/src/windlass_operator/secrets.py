"""Keeps the store's Secret in every namespace with objects of ours, and in no other, without ever reading one.

Of a namespace one thing is done at a time. So an object that is made while its namespace is being left either stands in the
listing, and the Secret stays, or its first round comes after the deletion and applies the Secret again. A pod that started in
between waits for it, and starts when it is there.
"""

import asyncio
import logging
from weakref import WeakValueDictionary

from windlass_operator.api import PARENTS, POD, SECRET, Cluster, Kind, Refused
from windlass_operator.manifests import MANAGED_SELECTOR, STORE_NAME, store_secret
from windlass_operator.settings import StoreSettings

# A Secret that was deleted or changed by hand is back within this many seconds.
REFRESH_SECONDS = 600.0
# A pod that misses the Secret may have it applied again, but not more often than this: it may miss something else.
URGENT_SECONDS = 10.0
# What the Secret is kept for. A pod outlives its object while it ends, or for good when its object was deleted alone, and needs
# the Secret whenever its container starts.
USERS: tuple[tuple[Kind, str], ...] = (*((kind, "") for kind in PARENTS), (POD, MANAGED_SELECTOR))

_log = logging.getLogger(__name__)


class StoreSecrets:
    """Applies the Secret when a namespace is first seen, and now and then after; deletes it when nothing there needs it.

    Args:
        cluster: where to.
        store: what the Secret says.
    """

    def __init__(self, cluster: Cluster, store: StoreSettings) -> None:
        self._cluster = cluster
        self._store = store
        self._applied_at: dict[str, float] = {}
        # A lock lives as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ensure(self, namespace: str, *, urgent: bool = False) -> None:
        """Make sure that the namespace has the Secret; writes only when the last time is long ago."""
        async with self._lock(namespace):
            now = asyncio.get_running_loop().time()
            applied = self._applied_at.get(namespace)
            if applied is not None and now - applied < (URGENT_SECONDS if urgent else REFRESH_SECONDS):
                return
            await self._cluster.apply(SECRET, store_secret(namespace, self._store))
            # Namespaces come and go; one whose time has come is as good as one never seen.
            recent = {name: at for name, at in self._applied_at.items() if now - at < REFRESH_SECONDS}
            self._applied_at = {**recent, namespace: now}

    async def release(self, namespace: str) -> None:
        """Delete the Secret of a namespace when it has neither objects nor pods of ours any more; asks the API server itself.

        To be called when an object or one of its pods is gone. A server that refuses is left alone: in a namespace that is
        removed as a whole the right to look goes too, and the Secret with it.
        """
        async with self._lock(namespace):
            try:
                if await self._is_used(namespace):
                    return
                # Before the deletion: one whose answer is lost may have taken place.
                self._applied_at.pop(namespace, None)
                await self._cluster.delete(SECRET, namespace, STORE_NAME)
            except Refused as error:
                _log.warning("the Secret %s of %s may be left: %s", STORE_NAME, namespace, error.message)

    async def _is_used(self, namespace: str) -> bool:
        for kind, labels in USERS:
            if await self._cluster.list(kind, namespace, labels=labels, metadata_only=True, at_most=1):
                return True
        return False

    def _lock(self, namespace: str) -> asyncio.Lock:
        return self._locks.setdefault(namespace, asyncio.Lock())
