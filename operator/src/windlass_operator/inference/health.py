"""Whether a service answers, and with what: from its pods alone, because they tell soonest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from windlass_core.contracts import Progress
from windlass_operator import diagnosis
from windlass_operator.api import Manifest
from windlass_operator.conditions import Verdict
from windlass_operator.diagnosis import Diagnosis
from windlass_operator.inference.manifests import REVISION_LABEL, VERSION_LABEL
from windlass_operator.pods import Pod

# As pods say it; it is the reason on the object too.
WAITING_FOR_STORE = "WaitingForStore"
# All new pods are asked for at once. On a full node some wait for room, which each old pod leaves that a new one has replaced.
_WANT_OF_ROOM = frozenset({"Unschedulable", "QuotaExceeded"})
# Ends of a server that have nothing to do with the model it was to load.
_NOT_THE_MODEL = frozenset(
    {
        "OutOfMemory",
        "Evicted",
        "Preempted",
        "NodeLost",
        "NodeRefused",
        "Killed",
        "Stopped",
        "ContainerStartFailed",
        "StoreAccessDenied",
        "Unavailable",
    }
)


@dataclass(frozen=True)
class View:
    """What a service's health is judged by.

    Attributes:
        revision: label of the pods that serve what the spec asks for now.
        version: the version of the model that they serve.
        needed: pods that must answer before the service is ready.
        deployment: the Deployment as it is, None before it is made.
        told: what a pod of the wanted revision that does not answer yet said last; None when none was asked.
    """

    pods: Sequence[Pod]
    revision: str
    version: int
    needed: int
    deployment: Manifest | None
    told: Progress | None = None

    @property
    def updated(self) -> tuple[Pod, ...]:
        """Pods of the wanted revision that take requests."""
        return tuple(pod for pod in serving(self.pods) if pod.labels.get(REVISION_LABEL) == self.revision)

    @property
    def unready(self) -> tuple[Pod, ...]:
        """Pods of the wanted revision that do not answer yet."""
        wanted = (pod for pod in self.pods if pod.labels.get(REVISION_LABEL) == self.revision)
        return tuple(pod for pod in wanted if not pod.ready and not pod.deleting and pod.phase != "Succeeded")

    @property
    def loading(self) -> tuple[Pod, ...]:
        """Those of them whose program can be asked what it does."""
        return tuple(pod for pod in self.unready if pod.started and pod.address)


def serving(pods: Sequence[Pod]) -> tuple[Pod, ...]:
    """Pods that take requests; one that is leaving takes no new ones."""
    return tuple(pod for pod in pods if pod.ready and not pod.deleting)


def available(pods: Sequence[Pod]) -> Verdict:
    """Whether anything answers, of whatever version."""
    if not serving(pods):
        return Verdict("False", "NoPodsReady", "No pod answers.")
    return Verdict("True", "PodsReady", f"{_versions(pods)} answers.")


def still(pods: Sequence[Pod]) -> str:
    """A sentence on what serves meanwhile; nothing when nothing does."""
    return f" {_versions(pods)} still answers." if serving(pods) else ""


def ready(view: View) -> Verdict:
    """Whether what the spec asks for is all that answers, on as many pods as asked for."""
    old = [pod for pod in serving(view.pods) if pod not in view.updated]
    if len(view.updated) >= view.needed and not old:
        return Verdict("True", "Serving", f"Version {view.version} answers.")
    trouble = _trouble(view)
    comes_on = bool(view.updated) or any(_of_pod(pod, view.version) is None for pod in view.unready)
    waits_for_room = trouble is not None and trouble.reason in _WANT_OF_ROOM and bool(old) and comes_on
    if trouble is not None and not waits_for_room:
        others = still(old) or still(view.updated)
        return Verdict("False", trouble.reason, f"{trouble.message}{others}", problem=True)
    if view.told is not None and view.told.phase == WAITING_FOR_STORE and view.unready:
        others = still(old) or still(view.updated)
        return Verdict("False", WAITING_FOR_STORE, f"A new pod is {view.told.message}.{others}", problem=True)
    if old:
        room = f" {trouble.message}" if trouble else ""
        return Verdict("False", "RollingOut", f"Version {view.version} is being rolled out.{still(old)}{room}")
    if view.updated:
        return Verdict("False", "Scaling", f"{len(view.updated)} of {view.needed} pods answer.")
    return Verdict("False", "Starting", f"Pods of version {view.version} are being started.")


def _trouble(view: View) -> Diagnosis | None:
    """What keeps pods of the wanted revision from answering; want of room only when there is nothing worse."""
    found = [trouble for pod in reversed(view.unready) if (trouble := _of_pod(pod, view.version))]
    conditions = (view.deployment or {}).get("status", {}).get("conditions") or []
    if refused := next((c for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"), None):
        found.append(diagnosis.of_refused_text(refused.get("message", "")))
    return min(found, key=lambda trouble: trouble.reason in _WANT_OF_ROOM, default=None)


def _of_pod(pod: Pod, version: int) -> Diagnosis | None:
    ended = pod.ended or pod.ended_before
    if ended is None:
        return diagnosis.of_waiting(pod) if pod.phase != "Failed" else diagnosis.of_end(pod)
    found = diagnosis.of_end(pod, ended)
    if found.reason in _NOT_THE_MODEL:
        return found
    return Diagnosis("ModelLoadFailed", f"Version {version} does not load: {found.message}")


def _versions(pods: Sequence[Pod]) -> str:
    numbers = sorted({pod.labels.get(VERSION_LABEL, "?") for pod in serving(pods)})
    return f"Version {' and '.join(numbers)}"
