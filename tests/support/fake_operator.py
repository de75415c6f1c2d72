"""The operator's own code over a FakeCluster, without watch streams: every object is looked at until nothing changes."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import virtual_time
from builders import NOW, SETTINGS
from fake_cluster import FakeCluster

from windlass_core.contracts import Progress
from windlass_operator.api import PARENTS, Key
from windlass_operator.queue import RetryLater
from windlass_operator.reconcile import Reconciler
from windlass_operator.settings import Settings

# Rounds after which a cluster that still changes will never come to rest.
MAX_ROUNDS = 200


class FakeProgress:
    """Implements `ProgressSource` with what a test says."""

    def __init__(self) -> None:
        self.answers: dict[Key, Progress] = {}
        self.followed: dict[Key, str] = {}

    def follow(self, key: Key, address: str) -> None:
        """Note whom the reconciler wants asked."""
        self.followed[key] = address

    def forget(self, key: Key) -> None:
        """Note that nobody is to be asked."""
        self.followed.pop(key, None)

    def latest(self, key: Key) -> Progress | None:
        """What the test said."""
        return self.answers.get(key)


class FakeOperator:
    """A process that may be ended and started anew over the same cluster."""

    def __init__(self, cluster: FakeCluster, settings: Settings = SETTINGS) -> None:
        self.cluster = cluster
        self.settings = settings
        self.progress = FakeProgress()
        self.now: datetime = NOW
        self.restart()

    def restart(self) -> None:
        """Forget all that a process forgets."""
        self.reconciler = Reconciler(self.cluster, self.settings, self.progress, clock=lambda: self.now)

    def round(self, key: Key) -> float | None:
        """One round for one key; an error that asks for another round is passed on."""
        return virtual_time.run(self._round(key))

    async def _round(self, key: Key) -> float | None:
        return await self.reconciler(key)

    def sweep(self) -> bool:
        """One round for every object; whether any of them wrote or wants to come again at once."""
        before = len(self.cluster.writes)
        again = False
        for key in self.keys():
            try:
                again = self.round(key) == 0.0 or again
            except RetryLater:
                again = True
        self.now += timedelta(seconds=1)
        return again or len(self.cluster.writes) > before

    def settle(self) -> None:
        """Sweep until nothing changes."""
        for _ in range(MAX_ROUNDS):
            if not self.sweep():
                return
        raise AssertionError(f"no rest after {MAX_ROUNDS} rounds; the last writes: {self.cluster.writes[-10:]}")

    def keys(self) -> Iterable[Key]:
        """All objects of ours."""
        for kind in PARENTS:
            for manifest in self.cluster.of_kind(kind):
                yield Key(kind.name, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
