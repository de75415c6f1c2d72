"""What planners take and give: the context they decide in, and the plan of writes that follows. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from windlass_core.contracts import Progress
from windlass_operator.api import Kind, Manifest
from windlass_operator.settings import Settings


@dataclass(frozen=True)
class Parent:
    """One Windlass object as it was read."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @classmethod
    def read(cls, kind: Kind, manifest: Manifest) -> "Parent":
        """The object behind a manifest from the API server."""
        metadata = manifest["metadata"]
        return cls(
            kind=kind,
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            resource_version=metadata.get("resourceVersion", ""),
            deleting="deletionTimestamp" in metadata,
            annotations=metadata.get("annotations") or {},
            spec=manifest.get("spec") or {},
            status=manifest.get("status") or {},
        )


@dataclass(frozen=True)
class Context:
    """What every decision may use besides the objects: the time, the settings, and how far a run said that it is."""

    now: datetime
    settings: Settings
    progress: Progress | None = None


@dataclass(frozen=True)
class Apply:
    """Make these fields of a child so, making the child if need be."""

    kind: Kind
    manifest: Manifest


@dataclass(frozen=True)
class Create:
    """Make an object that nobody has made yet."""

    kind: Kind
    manifest: Manifest


@dataclass(frozen=True)
class Patch:
    """Change parts of an object; with `resource_version`, only if nobody has changed it since it was read."""

    kind: Kind
    namespace: str
    name: str
    patch: Manifest
    resource_version: str | None = None
    subresource: str | None = None
    manager: str | None = None


@dataclass(frozen=True)
class Delete:
    """Remove one object, known by its uid."""

    kind: Kind
    namespace: str
    name: str
    uid: str


Action = Apply | Create | Patch | Delete


@dataclass(frozen=True)
class Note:
    """Something a person should notice; becomes a Kubernetes Event."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Plan:
    """The writes that bring the cluster nearer to what an object asks for.

    Attributes:
        actions: writes in order; the status comes after them, so that it never tells of what has not happened.
        status: the whole status the object should have; None leaves it alone.
        requeue_after: seconds after which to look again although nothing happened; None waits for events.
        endpoint: address of a pod to ask for progress, while there is one.
        refresh_secret: a pod misses the store's Secret.
    """

    actions: tuple[Action, ...] = ()
    status: Manifest | None = None
    notes: tuple[Note, ...] = ()
    requeue_after: float | None = None
    endpoint: str | None = None
    refresh_secret: bool = False
