"""A cluster in memory with the verbs of `windlass_operator.api.Cluster`: what tests of the reconciler write to and read from.

It keeps what the real API server promises: resource versions and conflicts, generations, uids, the status subresource,
server-side apply that removes what was left out, and garbage collection by owner references. A real server is asked in
`test_wire.py`.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from windlass_operator.api import FIELD_MANAGER, ApiError, Conflict, Kind, Manifest

CREATED = "2026-01-01T00:00:00Z"

Place = tuple[str, str, str]


@dataclass(frozen=True)
class Write:
    """One write that reached the cluster."""

    verb: str
    kind: str
    name: str
    subresource: str | None = None


class Crash(BaseException):
    """The process ends here: no handler of errors may see it."""


@dataclass
class FakeCluster:
    """The objects, and every write in order.

    Attributes:
        before: called before each write takes effect; may raise.
        after: called after each write took effect; may raise.
        deny: the error to answer a write with, by the write; None lets it through.
    """

    objects: dict[Place, Manifest] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    before: Callable[[Write], None] = lambda _: None
    after: Callable[[Write], None] = lambda _: None
    deny: Callable[[Write], ApiError | None] = lambda _: None

    def __post_init__(self) -> None:
        self._versions = count(1)
        self._uids = count(1)
        self._applied: dict[tuple[Place, str], Manifest] = {}

    def put(self, *manifests: Manifest) -> None:
        """Objects as somebody else makes or changes them; not counted as writes."""
        for manifest in manifests:
            place = _place(manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
            self._store(place, copy.deepcopy(manifest))

    def drop(self, kind: Kind, namespace: str, name: str) -> None:
        """An object as somebody else deletes it, and what it owns."""
        self._remove(_place(kind.name, namespace, name))

    def find(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """A copy of an object."""
        return copy.deepcopy(self.objects.get(_place(kind.name, namespace, name)))

    def of_kind(self, kind: Kind) -> list[Manifest]:
        """Copies of all objects of a kind."""
        return [copy.deepcopy(found) for place, found in sorted(self.objects.items()) if place[0] == kind.name]

    def writes_to(self, *kinds: Kind) -> list[Write]:
        """The writes to objects of these kinds."""
        names = {kind.name for kind in kinds}
        return [write for write in self.writes if write.kind in names]

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """See `api.Cluster`."""
        return self.find(kind, namespace, name)

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        at_most: int | None = None,
    ) -> list[Manifest]:
        """See `api.Cluster`."""
        found = (item for item in self.of_kind(kind) if namespace in (None, item["metadata"]["namespace"]))
        matching = (item for item in found if _selected(item["metadata"].get("labels") or {}, labels) and _has(item, fields))
        chosen = list(islice(matching, at_most))
        return [{"metadata": item["metadata"]} for item in chosen] if metadata_only else chosen

    async def create(self, kind: Kind, manifest: Manifest) -> None:
        """See `api.Cluster`."""
        place = _of(kind, manifest)
        with self._writing(Write("create", kind.name, place[2])):
            if place in self.objects:
                raise Conflict(f"{kind.plural} {place[2]} already exists", status=409)
            self._store(place, copy.deepcopy(manifest))

    async def apply(self, kind: Kind, manifest: Manifest) -> None:
        """See `api.Cluster`."""
        place = _of(kind, manifest)
        with self._writing(Write("apply", kind.name, place[2])):
            live = copy.deepcopy(self.objects.get(place, {}))
            before = self._applied.get((place, FIELD_MANAGER), {})
            merged = _merge(_without(live, before, manifest), manifest)
            self._applied[(place, FIELD_MANAGER)] = copy.deepcopy(manifest)
            self._store(place, merged)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Manifest,
        *,
        subresource: str | None = None,
        manager: str = FIELD_MANAGER,
    ) -> None:
        """See `api.Cluster`."""
        place = _place(kind.name, namespace, name)
        with self._writing(Write("patch" if manager == FIELD_MANAGER else manager, kind.name, name, subresource)):
            live = self.objects.get(place)
            if live is None:
                raise Conflict(f"{kind.plural} {name} not found", status=404)
            wanted = copy.deepcopy(patch)
            version = wanted.get("metadata", {}).pop("resourceVersion", None)
            if version is not None and version != live["metadata"]["resourceVersion"]:
                raise Conflict(f"{kind.plural} {name} has been modified", status=409)
            parts = {"status"} if subresource == "status" else set(wanted) - {"status"}
            self._store(place, _merge(copy.deepcopy(live), {key: wanted[key] for key in parts if key in wanted}))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """See `api.Cluster`."""
        place = _place(kind.name, namespace, name)
        with self._writing(Write("delete", kind.name, name)):
            if place in self.objects and uid in (None, self.objects[place]["metadata"]["uid"]):
                self._remove(place)

    def _writing(self, write: Write) -> "_Writing":
        return _Writing(self, write)

    def _store(self, place: Place, manifest: Manifest) -> None:
        old = self.objects.get(place)
        metadata = manifest["metadata"]
        metadata.setdefault("uid", old["metadata"]["uid"] if old else f"uid-{next(self._uids)}")
        metadata.setdefault("creationTimestamp", CREATED)
        same_spec = old is not None and old.get("spec") == manifest.get("spec")
        metadata["generation"] = (
            metadata.get("generation", 1) if old is None else old["metadata"]["generation"] + (not same_spec)
        )
        if old is not None and _same(old, manifest):
            return
        metadata["resourceVersion"] = str(next(self._versions))
        self.objects[place] = manifest

    def _remove(self, place: Place) -> None:
        gone = self.objects.pop(place)
        self._applied = {key: value for key, value in self._applied.items() if key[0] != place}
        for other, manifest in list(self.objects.items()):
            owners = manifest["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners) and other in self.objects:
                self._remove(other)


class _Writing:
    """The frame of one write: denied, crashed before, done, or crashed after."""

    def __init__(self, cluster: FakeCluster, write: Write) -> None:
        self._cluster = cluster
        self._write = write

    def __enter__(self) -> None:
        if (error := self._cluster.deny(self._write)) is not None:
            raise error
        self._cluster.before(self._write)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is None:
            self._cluster.writes.append(self._write)
            self._cluster.after(self._write)


def _place(kind: str, namespace: str, name: str) -> Place:
    return (kind, namespace, name)


def _of(kind: Kind, manifest: Manifest) -> Place:
    assert manifest["kind"] == kind.name
    assert manifest["apiVersion"] == kind.api_version
    return _place(kind.name, manifest["metadata"]["namespace"], manifest["metadata"]["name"])


def _same(one: Manifest, other: Manifest) -> bool:
    metadata = ({**manifest["metadata"], "resourceVersion": ""} for manifest in (one, other))
    return {**one, "metadata": next(metadata)} == {**other, "metadata": next(metadata)}


def _merge(live: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _without(live: Any, before: Any, now: Any) -> Any:
    """The live object without the fields that the manager applied before and applies no more."""
    if not (isinstance(live, dict) and isinstance(before, dict)):
        return live
    now = now if isinstance(now, dict) else {}
    kept = {key: value for key, value in live.items() if key not in before or key in now}
    return {key: _without(value, before.get(key), now.get(key)) for key, value in kept.items()}


def _selected(labels: Mapping[str, str], selector: str) -> bool:
    wanted = (term.partition("=") for term in selector.split(",") if term)
    return all(labels.get(name) == value for name, _, value in wanted)


def _has(item: Manifest, fields: str) -> bool:
    wanted = (term.partition("=") for term in fields.split(",") if term)
    return all(_at(item, path) == value for path, _, value in wanted)


def _at(item: Any, path: str) -> Any:
    for part in path.split("."):
        item = (item or {}).get(part)
    return item
