"""The Kubernetes API as the rest of the operator sees it: kinds, keys, errors and the verbs of a cluster.

Plain values and one protocol, so that everything but `cluster.py` works against a cluster in memory. Imports no client.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from windlass_core.resources import API_GROUP, API_VERSION

# A Kubernetes object as JSON.
Manifest = dict[str, Any]

FIELD_MANAGER = "windlass"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and where the API server keeps it."""

    group: str
    version: str
    plural: str
    name: str

    @property
    def api_version(self) -> str:
        """What stands in `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of the collection, of one object, or of a part of it; all namespaces when `namespace` is None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, f"namespaces/{namespace}" if namespace else None, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


DATASET = Kind(API_GROUP, API_VERSION, "datasets", "Dataset")
TRAINING_JOB = Kind(API_GROUP, API_VERSION, "trainingjobs", "TrainingJob")
MODEL = Kind(API_GROUP, API_VERSION, "models", "Model")
INFERENCE_SERVICE = Kind(API_GROUP, API_VERSION, "inferenceservices", "InferenceService")
JOB = Kind("batch", "v1", "jobs", "Job")
POD = Kind("", "v1", "pods", "Pod")
SERVICE = Kind("", "v1", "services", "Service")
SECRET = Kind("", "v1", "secrets", "Secret")
EVENT = Kind("", "v1", "events", "Event")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
AUTOSCALER = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")

PARENTS = (DATASET, TRAINING_JOB, MODEL, INFERENCE_SERVICE)
# Children whose status tells what became of a run or a service.
TELLING_CHILDREN = (POD, JOB, DEPLOYMENT)
# Children that matter only when somebody else changes or deletes them.
QUIET_CHILDREN = (SERVICE, AUTOSCALER, DISRUPTION_BUDGET, NETWORK_POLICY)
WATCHED_CHILDREN = (*TELLING_CHILDREN, *QUIET_CHILDREN)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one object to reconcile. It carries nothing of an event: what matters is read when the key is worked on."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class ApiError(Exception):
    """The API server did not do what was asked.

    Args:
        message: the server's sentence.
        status: the HTTP status; 0 when there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Conflict(ApiError):
    """Somebody else was faster, or the object exists: look again and decide anew."""


class Refused(ApiError):
    """The server understood and said no (invalid, forbidden, over quota): the user has to know."""


class Busy(ApiError):
    """No answer, or not now: try again later.

    Args:
        retry_after: seconds the server asked to wait, if it did.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class Cluster(Protocol):
    """The verbs that the operator needs. All raise Conflict, Refused or Busy; all end within a bounded time."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object, or None when there is none."""
        ...

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        at_most: int | None = None,
    ) -> "list[Manifest]":
        """The objects that match both selectors, or the first of them; of all namespaces when `namespace` is None."""
        ...

    async def create(self, kind: Kind, manifest: Manifest) -> None:
        """Make the object; Conflict when one of its name exists."""
        ...

    async def apply(self, kind: Kind, manifest: Manifest) -> None:
        """Server-side apply: the fields in the manifest become so, fields left out since the last time go."""
        ...

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
        """JSON merge patch; with metadata.resourceVersion in it, Conflict when the object has changed since."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """Remove the object and what it owns; nothing happens when it is gone or, with a uid, another one has its name."""
        ...
