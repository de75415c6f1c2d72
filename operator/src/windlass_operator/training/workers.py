"""The workers of one try as a group: how many run, which of them ended the run, and how far it is. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from windlass_core.contracts import PEER_LOST, Progress
from windlass_core.resources import TrainingJobStatus
from windlass_core.resources.training_job import CheckpointStatus, TrainingProgress
from windlass_operator import diagnosis
from windlass_operator.conditions import Verdict
from windlass_operator.diagnosis import Diagnosis
from windlass_operator.pods import BAD_DEVICE_EXIT_CODE, Pod


@dataclass(frozen=True)
class Group:
    """The newest pod of each index.

    Attributes:
        missing: indexes without a pod.
        restarts: failures that were recovered from, over all indexes.
        endpoint: address of a pod to ask for progress.
    """

    newest: tuple[Pod, ...]
    total: int
    missing: int
    running: int
    restarts: int
    endpoint: str | None


def gather(pods: Sequence[Pod], total: int) -> Group:
    """The group as it stands; pods come the oldest first."""
    newest = {pod.index: pod for pod in pods}
    ordered = tuple(newest[index] for index in sorted(newest))
    running = [pod for pod in ordered if pod.running]
    return Group(
        newest=ordered,
        total=total,
        missing=max(0, total - len(ordered)),
        running=len(running),
        restarts=sum(pod.failures + pod.ignored_failures for pod in ordered),
        endpoint=next((pod.address for pod in running if pod.address and not pod.deleting), None),
    )


def culprit(pods: Sequence[Pod], restarts_max: int, *, job_failed: bool) -> Pod | None:
    """The pod that ended the run, or None while the run goes on.

    It is known as soon as that pod has ended: the Job comes to the same conclusion a second later. A pod that only lost another
    one is named if there is no other.
    """
    failed = [pod for pod in pods if pod.failed]
    counted = [pod for pod in failed if not pod.ignored]
    final = [pod for pod in counted if pod.final or (pod.ended and pod.ended.exit_code == BAD_DEVICE_EXIT_CODE)]
    exhausted = [pod for pod in counted if pod.failures + 1 > restarts_max]
    candidates = final or exhausted or ((counted or failed) if job_failed else [])
    telling = [pod for pod in candidates if not (pod.result and pod.result.reason == PEER_LOST)]
    return next(reversed(telling or candidates), None)


def last_failure(found: Diagnosis, pod: Pod) -> str:
    """The sentence on the failure that ended the run, with how many came before it."""
    return f"{found.message} It was restarted {pod.failures} times before." if pod.failures else found.message


def trouble(group: Group, restarts_max: int) -> Verdict | None:
    """What keeps a worker from its work, or None."""
    for pod in group.newest:
        if pod.failed:
            ended = diagnosis.of_end(pod)
            count = "which uses no restart up" if pod.ignored else f"restart {pod.failures + 1} of at most {restarts_max}"
            message = f"{ended.message} The worker is started again, {count}."
            return Verdict("Unknown", ended.reason, message, problem=True)
    for pod in group.newest:
        if found := diagnosis.of_waiting(pod):
            return Verdict("Unknown", found.reason, found.message, problem=True)
    return None


def state(group: Group, progress: Progress | None) -> Verdict | None:
    """What the group does; None when its pods are only on their way."""
    if group.newest and group.running == group.total:
        doing = f": {_words(progress.phase)}" if progress else ""
        return Verdict("Unknown", "Running", f"{group.running} of {group.total} workers run{doing}.")
    if group.running:
        return Verdict("Unknown", "Starting", f"{group.running} of {group.total} workers run; the others are being started.")
    return None


def _words(phase: str) -> str:
    """A CamelCase word as words: WaitingForWorkers as waiting for workers."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in phase).strip()


def progress_fields(status: TrainingJobStatus, progress: Progress | None) -> dict[str, Any]:
    """Fields of the status that progress changes; what a restarted worker does not know yet stays, but for how fast it goes."""
    if progress is None:
        return {}
    fields: dict[str, Any] = {}
    if progress.step is not None and progress.steps is not None:
        rate = progress.samples_per_second
        fields["progress"] = TrainingProgress(
            step=progress.step,
            steps=progress.steps,
            epoch=progress.epoch or 0,
            loss=None if progress.loss is None else f"{progress.loss:.4g}",
            samples_per_second=None if rate is None else round(rate),
            eta=None if progress.eta_seconds is None else duration(progress.eta_seconds),
        )
    elif status.progress is not None:
        fields["progress"] = status.progress.model_copy(update={"samples_per_second": None, "eta": None})
    saved = progress.checkpoint
    if saved and (status.checkpoint is None or saved.step >= status.checkpoint.step):
        fields["checkpoint"] = CheckpointStatus(step=saved.step, at=saved.at.replace(microsecond=0))
    return fields


def duration(seconds: float) -> str:
    """Seconds as people say them: 45s, 1m30s, 2h05m."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
