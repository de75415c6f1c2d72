"""Keeps the store's Secret in every namespace with objects of ours, without ever reading one."""

import asyncio

from windlass_operator.api import SECRET, Cluster
from windlass_operator.manifests import store_secret
from windlass_operator.settings import StoreSettings

# A Secret that was deleted or changed by hand is back within this many seconds.
REFRESH_SECONDS = 600.0
# A pod that misses the Secret may have it applied again, but not more often than this: it may miss something else.
URGENT_SECONDS = 10.0


class StoreSecrets:
    """Applies the Secret when a namespace is first seen, and now and then after.

    Args:
        cluster: where to.
        store: what the Secret says.
    """

    def __init__(self, cluster: Cluster, store: StoreSettings) -> None:
        self._cluster = cluster
        self._store = store
        self._applied_at: dict[str, float] = {}

    async def ensure(self, namespace: str, *, urgent: bool = False) -> None:
        """Make sure that the namespace has the Secret; writes only when the last time is long ago."""
        now = asyncio.get_running_loop().time()
        applied = self._applied_at.get(namespace)
        if applied is not None and now - applied < (URGENT_SECONDS if urgent else REFRESH_SECONDS):
            return
        await self._cluster.apply(SECRET, store_secret(namespace, self._store))
        # Namespaces come and go; one whose time has come is as good as one never seen.
        recent = {name: at for name, at in self._applied_at.items() if now - at < REFRESH_SECONDS}
        self._applied_at = {**recent, namespace: now}
