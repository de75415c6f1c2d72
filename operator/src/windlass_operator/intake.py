"""Turns watch events into keys of the queue: the object itself, the owner of a child, and whoever refers to it.

Also remembers which version of every watched object the streams have brought, so that a stream that went silent can be found
out (`resync.py`). Knows neither kopf nor the cluster.
"""

from typing import Protocol

from windlass_operator import metrics
from windlass_operator.api import MODEL, PARENTS, QUIET_CHILDREN, Key, Kind, Manifest
from windlass_operator.manifests import PARENT_LABELS
from windlass_operator.references import References, outward, targets


class Keys(Protocol):
    """Where keys go."""

    def add(self, key: Key) -> None:
        """Have the key worked on."""
        ...

    def forget(self, key: Key) -> None:
        """Drop what is known of a key that exists no more."""
        ...


class Intake:
    """The one listener of all watch streams."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._references = References()
        self._outward: dict[Key, object] = {}
        self._generations: dict[Key, tuple[str, int, bool]] = {}
        self._versions: dict[Kind, dict[tuple[str, str], str]] = {}

    def parent(self, kind: Kind, event_type: str | None, body: Manifest) -> None:
        """An event on one of our four kinds; `event_type` is None for what the first listing brings."""
        self._note_version(kind, body)
        key = Key(kind.name, body["metadata"]["namespace"], body["metadata"]["name"])
        if event_type == "DELETED":
            self.gone(kind, key.namespace, key.name)
            return
        self._references.update(key, targets(key, body))
        self._tell_dependants(key, outward(key, body))
        if self._is_news(key, event_type, body):
            self._keys.add(key)

    def child(self, kind: Kind, event_type: str | None, body: Manifest) -> None:
        """An event on an object that the operator made; its labels lead to its owner."""
        self._note_version(kind, body)
        metadata = body["metadata"]
        news = kind not in QUIET_CHILDREN or self._is_meddling(kind, event_type, body)
        if event_type == "DELETED":
            self.gone(kind, metadata["namespace"], metadata["name"])
        labels = metadata.get("labels") or {}
        for parent_kind, label in PARENT_LABELS.items():
            if news and label in labels:
                self._keys.add(Key(parent_kind, metadata["namespace"], labels[label]))

    def gone(self, kind: Kind, namespace: str, name: str) -> None:
        """An object exists no more, as its stream says, or a listing that should hold it: nothing of it is remembered."""
        key = Key(kind.name, namespace, name)
        self._versions[kind].pop((namespace, name), None)
        self._generations.pop(key, None)
        if kind in PARENTS:
            self._references.update(key, frozenset())
            self._tell_dependants(key, None)
            self._keys.forget(key)
            self._keys.add(key)

    def known(self, kind: Kind) -> frozenset[tuple[str, str]]:
        """Namespace and name of every object that the stream has brought and not taken away."""
        return frozenset(self._versions.get(kind, ()))

    def version(self, kind: Kind, namespace: str, name: str) -> str | None:
        """The resourceVersion that the stream brought last, None when it brought none or the end of the object."""
        return self._versions.get(kind, {}).get((namespace, name))

    def _is_news(self, key: Key, event_type: str | None, body: Manifest) -> bool:
        """Whether more than the status changed. The status of all but a Model is written by its own key, which knows it."""
        metadata = body["metadata"]
        now = (metadata.get("uid", ""), metadata.get("generation", 0), "deletionTimestamp" in metadata)
        before, self._generations[key] = self._generations.get(key), now
        return event_type != "MODIFIED" or key.kind == MODEL.name or before != now

    def _is_meddling(self, kind: Kind, event_type: str | None, body: Manifest) -> bool:
        """Whether more than the status of a quiet child changed; that the operator made it is no news to it."""
        metadata = body["metadata"]
        key = Key(kind.name, metadata["namespace"], metadata["name"])
        now = (metadata.get("uid", ""), metadata.get("generation", 0), False)
        before, self._generations[key] = self._generations.get(key), now
        changed = before != now or "generation" not in metadata
        return event_type == "DELETED" or (event_type == "MODIFIED" and changed)

    def _tell_dependants(self, key: Key, now: object) -> None:
        if self._outward.get(key) == now:
            return
        if now is None:
            self._outward.pop(key, None)
        else:
            self._outward[key] = now
        for dependant in self._references.dependants(key):
            self._keys.add(dependant)

    def _note_version(self, kind: Kind, body: Manifest) -> None:
        metrics.WATCH_EVENTS.labels(kind.name).inc()
        metadata = body["metadata"]
        name = (metadata["namespace"], metadata["name"])
        self._versions.setdefault(kind, {})[name] = metadata.get("resourceVersion", "")
