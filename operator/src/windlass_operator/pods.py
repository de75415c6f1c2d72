"""Pods as planners see them: the few facts of a pod's status that decide something. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from windlass_core.contracts import RunResult
from windlass_operator.api import Manifest

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
FAILURES_ANNOTATION = "batch.kubernetes.io/job-index-failure-count"
# Exit codes of a run that trying again cannot help: bad configuration, bad data, code that raised.
FINAL_EXIT_CODES = frozenset({40, 41, 42})
BAD_DEVICE_EXIT_CODE = 43  # another node may help
STOPPED_EXIT_CODE = 44  # asked to stop, state saved
IGNORED_FAILURES_ANNOTATION = "batch.kubernetes.io/job-index-ignored-failure-count"


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    exit_code: int
    reason: str
    message: str
    finished_at: str

    @property
    def result(self) -> RunResult | None:
        """What the program itself said, if it came to say it."""
        try:
            return RunResult.model_validate_json(self.message)
        except ValidationError:
            return None


@dataclass(frozen=True)
class Pod:
    """The facts about one pod. It has one container of ours.

    Attributes:
        waiting: reason and message of a container that does not start.
        ended: how the container ended, if it does not run now.
        ended_before: how it ended before it was started again.
        unschedulable: the scheduler's sentence, while it finds no node.
        disruption: reason for which the cluster itself took the pod away, for example PreemptionByScheduler.
        failures: failures of earlier pods of the same index that count towards the limit.
        ignored_failures: those that do not: the cluster took the pod away, or it stopped after saving.
    """

    name: str
    uid: str
    owner_uid: str
    labels: Mapping[str, str]
    created_at: str
    phase: str
    phase_reason: str
    phase_message: str
    address: str
    deleting: bool
    index: int
    failures: int
    ignored_failures: int
    running: bool
    ready: bool
    started: bool
    restarts: int
    waiting: tuple[str, str] | None
    ended: Ended | None
    ended_before: Ended | None
    unschedulable: str | None
    disruption: str | None

    @property
    def over(self) -> bool:
        """Whether its container runs no more and will not run again."""
        return self.phase in ("Succeeded", "Failed") or (self.ended is not None and self.restart_never)

    @property
    def restart_never(self) -> bool:
        """Pods of Jobs; those of Deployments start their container again."""
        return "batch.kubernetes.io/job-name" in self.labels

    @property
    def result(self) -> RunResult | None:
        """What the program said at its end."""
        return self.ended.result if self.ended else None

    @property
    def ignored(self) -> bool:
        """Whether its Job tries again without counting: the cluster took the pod away, or it stopped after saving."""
        return self.disruption is not None or (self.ended is not None and self.ended.exit_code == STOPPED_EXIT_CODE)

    @property
    def final(self) -> bool:
        """Whether it failed in a way that trying again cannot help, so that its Job gives up at once."""
        return self.failed and not self.ignored and self.ended is not None and self.ended.exit_code in FINAL_EXIT_CODES

    @property
    def failed(self) -> bool:
        """Whether it is over and did not do its work."""
        return self.phase == "Failed" or (self.over and self.ended is not None and self.ended.exit_code != 0)


def read(manifest: Manifest) -> Pod:
    """The facts in a pod's manifest from the API server."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    annotations = metadata.get("annotations") or {}
    container: Mapping[str, Any] = next(iter(status.get("containerStatuses") or []), {})
    state, before = container.get("state") or {}, container.get("lastState") or {}
    scheduled = _condition(status, "PodScheduled")
    disrupted = _condition(status, "DisruptionTarget")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_uid=next((o["uid"] for o in metadata.get("ownerReferences") or [] if o.get("controller")), ""),
        labels=metadata.get("labels") or {},
        created_at=metadata.get("creationTimestamp") or "",
        phase=status.get("phase", "Pending"),
        phase_reason=status.get("reason", ""),
        phase_message=status.get("message", ""),
        address=status.get("podIP", ""),
        deleting="deletionTimestamp" in metadata,
        index=int(annotations.get(INDEX_ANNOTATION, 0)),
        failures=int(annotations.get(FAILURES_ANNOTATION, 0)),
        ignored_failures=int(annotations.get(IGNORED_FAILURES_ANNOTATION, 0)),
        running="running" in state,
        ready=_condition(status, "Ready").get("status") == "True",
        started=bool(container.get("started")),
        restarts=container.get("restartCount", 0),
        waiting=_waiting(state),
        ended=_ended(state),
        ended_before=_ended(before),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        disruption=disrupted.get("reason") if disrupted.get("status") == "True" else None,
    )


def read_all(manifests: Iterable[Manifest]) -> tuple[Pod, ...]:
    """The facts of all pods, the oldest first, so that a plan does not depend on the server's order."""
    return tuple(sorted(map(read, manifests), key=lambda pod: (pod.created_at, pod.name)))


def _condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions") or [] if c["type"] == type_), {})


def _waiting(state: Mapping[str, Any]) -> tuple[str, str] | None:
    waiting = state.get("waiting")
    return (waiting.get("reason", ""), waiting.get("message", "")) if waiting else None


def _ended(state: Mapping[str, Any]) -> Ended | None:
    terminated = state.get("terminated")
    if not terminated:
        return None
    return Ended(
        exit_code=terminated.get("exitCode", 0),
        reason=terminated.get("reason", ""),
        message=terminated.get("message", ""),
        finished_at=terminated.get("finishedAt") or "",
    )
