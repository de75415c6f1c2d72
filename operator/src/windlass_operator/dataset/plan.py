"""Decides what a Dataset needs next: a Job for its current spec, another try, or nothing. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from windlass_core.contracts import DatasetResult, Progress
from windlass_core.resources import DatasetSpec, DatasetStatus
from windlass_core.resources.dataset import Column, DatasetProgress, DatasetVersion
from windlass_operator import conditions, diagnosis, jobs
from windlass_operator.api import JOB, Manifest
from windlass_operator.compare import Ownership, ownership
from windlass_operator.conditions import Verdict
from windlass_operator.dataset.manifests import job, job_name
from windlass_operator.plan import Action, Context, Create, Delete, Parent, Plan
from windlass_operator.pods import Pod
from windlass_operator.verdicts import invalid_spec, leftover, name_taken, store_out_of_reach

READY = "Ready"
# The pod itself waits ten minutes for a missing source; then, and after the store was away, it starts again after this rest,
# doubled each time up to the largest.
FIRST_REST = timedelta(seconds=30)
LARGEST_REST = timedelta(seconds=600)
# Tries after which a fault that might pass is taken for one that does not. A missing source is waited for without end.
MAX_ATTEMPTS = 6
# Seconds between looks whether the Job controller is kept from making pods.
REFUSAL_POLL = 3.0
STATUS_COLUMNS = 32  # bounds of the lists in the CRD
STATUS_VERSIONS = 100

SOURCE_NOT_FOUND = "SourceNotFound"
WAITING_FOR_SOURCE = "WaitingForSource"
_UNDER_WAY = frozenset({"Starting", "Preparing", WAITING_FOR_SOURCE})


@dataclass(frozen=True)
class SeenDataset:
    """A Dataset and what there is of its children.

    Attributes:
        job: the Job of the current spec and try, whoever owns it.
        jobs: all Jobs that carry the Dataset's label.
        pods: of all its Jobs, the oldest first.
        refusals: events of the current Job, where it has no pods.
    """

    parent: Parent
    job: Manifest | None = None
    jobs: tuple[Manifest, ...] = ()
    pods: tuple[Pod, ...] = ()
    refusals: tuple[Manifest, ...] = ()


def wanted_job(parent: Parent) -> str | None:
    """Name of the Job that the current spec and try need; None when there is no valid spec."""
    try:
        spec = DatasetSpec.model_validate(parent.spec)
    except ValidationError:
        return None
    return job_name(parent, spec, _current(parent).attempt)


def plan_dataset(seen: SeenDataset, context: Context) -> Plan:
    """The writes that bring a Dataset on."""
    parent, status = seen.parent, _current(seen.parent)
    if parent.deleting:
        return Plan()
    try:
        spec = DatasetSpec.model_validate(parent.spec)
    except ValidationError as error:
        return _settled(seen, status, invalid_spec(error), context)
    ready = conditions.find(status.conditions, READY)
    if ready and ready.status == "True" and ready.observed_generation == parent.generation:
        return Plan()  # what was prepared stays prepared, whatever becomes of the Job
    if verdict := store_out_of_reach(parent, context):
        return _settled(seen, status, verdict, context)
    return _plan_job(seen, spec, status, context)


def _current(parent: Parent) -> DatasetStatus:
    """The status, with the count of tries begun anew for a new spec."""
    status = DatasetStatus.model_validate(parent.status)
    fresh = status.observed_generation != parent.generation or status.attempt == 0
    return status.model_copy(update={"attempt": 1, "progress": None}) if fresh else status


def _plan_job(seen: SeenDataset, spec: DatasetSpec, status: DatasetStatus, context: Context) -> Plan:
    name = job_name(seen.parent, spec, status.attempt)
    outdated = _outdated(seen, name)
    match ownership(seen.parent, seen.job):
        case Ownership.FOREIGN:
            return _settled(seen, status, name_taken(JOB, name), context, outdated)
        case Ownership.LEFTOVER:
            return _settled(seen, status, leftover(JOB, name), context, outdated, requeue_after=1.0)
        case Ownership.ABSENT:
            create = Create(JOB, job(seen.parent, spec, status.attempt, context.settings))
            verdict = Verdict("False", "Starting", f"Job {name} is being started to prepare the data.")
            return _settled(seen, status, verdict, context, (*outdated, create))
        case Ownership.OURS if seen.job is not None:
            state = jobs.read(seen.job)
            pods = tuple(pod for pod in seen.pods if pod.owner_uid == state.uid)
            return _follow(seen, spec, status, state, pods, outdated, context)
    raise AssertionError("an owned Job exists")


def _outdated(seen: SeenDataset, name: str) -> tuple[Action, ...]:
    ours = (j for j in seen.jobs if ownership(seen.parent, j) is Ownership.OURS and "deletionTimestamp" not in j["metadata"])
    return tuple(
        Delete(JOB, seen.parent.namespace, j["metadata"]["name"], j["metadata"]["uid"])
        for j in ours
        if j["metadata"]["name"] != name
    )


def _follow(
    seen: SeenDataset,
    spec: DatasetSpec,
    status: DatasetStatus,
    state: jobs.JobState,
    pods: tuple[Pod, ...],
    outdated: tuple[Action, ...],
    context: Context,
) -> Plan:
    result = next((pod.result.dataset for pod in pods if pod.result and pod.result.dataset), None)
    if result is not None:
        return _prepared(seen, status, result, context, outdated)
    if state.deleting:
        verdict = Verdict("False", "Starting", f"Job {state.name} was deleted; another one takes its place.")
        return _settled(seen, status, verdict, context, outdated, requeue_after=1.0)
    if state.complete:
        return _next_attempt(
            seen, status, "ResultLost", "The Job ended, but its pod is gone and with it what it made.", context
        )
    if state.failure is not None:
        return _failed(seen, status, state.failure[0], pods, context, outdated)
    return _under_way(seen, spec, status, state, pods, outdated, context)


def _prepared(
    seen: SeenDataset, status: DatasetStatus, result: DatasetResult, context: Context, outdated: tuple[Action, ...]
) -> Plan:
    version = result.version
    entry = DatasetVersion(version=version.version, digest=version.digest)
    others = [known for known in status.versions if known.version != entry.version]
    after = status.model_copy(
        update={
            "version": version.version,
            "uri": version.uri,
            "digest": version.digest,
            "rows": result.rows,
            "column_count": result.column_count,
            "columns": [Column(name=c.name, type=c.type) for c in result.columns[:STATUS_COLUMNS]],
            "task": result.task,
            "versions": sorted([entry, *others], key=lambda known: -known.version)[:STATUS_VERSIONS],
            "progress": None,
        }
    )
    message = f"Version {version.version} is ready: {result.rows} rows, {result.column_count} columns."
    return _settled(seen, after, Verdict("True", "Prepared", message), context, outdated)


def _failed(
    seen: SeenDataset, status: DatasetStatus, why: str, pods: tuple[Pod, ...], context: Context, outdated: tuple[Action, ...]
) -> Plan:
    """The Job gave up: for good when the pod said that trying again cannot help, else another try later."""
    before = conditions.find(status.conditions, READY)
    last = next((pod for pod in reversed(pods) if pod.failed), None)
    if last is None:
        if before and before.observed_generation == seen.parent.generation and before.reason not in _UNDER_WAY:
            return Plan()  # what was found out while the pod was there is the better account
        found = diagnosis.Diagnosis(why or "JobFailed", "The Job failed, and its pods are gone.")
    else:
        found = diagnosis.of_end(last)
    missing = found.reason == SOURCE_NOT_FOUND
    passing = missing or (why != "PodFailurePolicy" and found.reason != "OutOfMemory" and status.attempt < MAX_ATTEMPTS)
    reason = WAITING_FOR_SOURCE if missing else found.reason
    if not passing:
        stopped = status.model_copy(update={"progress": None})
        return _settled(seen, stopped, Verdict("False", reason, found.message, problem=True), context, outdated)
    rest = min(LARGEST_REST, FIRST_REST * 2 ** min(status.attempt - 1, 16))
    left = (_finished(last) or context.now) + rest - context.now
    if last is None or left <= timedelta(0):
        return _next_attempt(seen, status, reason, found.message, context)
    resting = status.model_copy(update={"progress": None})
    verdict = Verdict("False", reason, f"{found.message} It is tried again within {int(rest.total_seconds())} s.", problem=True)
    return _settled(seen, resting, verdict, context, outdated, requeue_after=left.total_seconds())


def _finished(pod: Pod | None) -> datetime | None:
    return datetime.fromisoformat(pod.ended.finished_at) if pod and pod.ended and pod.ended.finished_at else None


def _next_attempt(seen: SeenDataset, status: DatasetStatus, reason: str, message: str, context: Context) -> Plan:
    """Count one more try; the Job of that try follows when the count is written."""
    after = status.model_copy(update={"attempt": status.attempt + 1, "progress": None})
    verdict = Verdict("False", reason, f"{message} Try {after.attempt} begins.")
    return _settled(seen, after, verdict, context, requeue_after=0.0)


def _under_way(
    seen: SeenDataset,
    spec: DatasetSpec,
    status: DatasetStatus,
    state: jobs.JobState,
    pods: tuple[Pod, ...],
    outdated: tuple[Action, ...],
    context: Context,
) -> Plan:
    newest = pods[-1] if pods else None
    if newest is None:
        refused = diagnosis.of_refusal(seen.refusals)
        verdict = (
            Verdict("False", refused.reason, refused.message, problem=True)
            if refused
            else Verdict("False", "Starting", f"Job {state.name} is being started to prepare the data.")
        )
        return _settled(seen, status, verdict, context, outdated, requeue_after=REFUSAL_POLL)
    if newest.running:
        progress = context.progress
        after = status.model_copy(update={"progress": _progress(progress)})
        verdict = _running_verdict(spec, progress)
        return _settled(seen, after, verdict, context, outdated, endpoint=newest.address or None)
    if newest.failed:
        found = diagnosis.of_end(newest)
        reason = WAITING_FOR_SOURCE if found.reason == SOURCE_NOT_FOUND else found.reason
        verdict = Verdict("False", reason, f"{found.message} The Job tries again.", problem=True)
        return _settled(seen, status.model_copy(update={"progress": None}), verdict, context, outdated)
    if trouble := diagnosis.of_waiting(newest):
        verdict = Verdict("False", trouble.reason, trouble.message, problem=True)
        refresh = trouble.reason == "ContainerConfigError"
        return _settled(seen, status, verdict, context, outdated, refresh_secret=refresh)
    return _settled(seen, status, Verdict("False", "Starting", f"Pod {newest.name} is being started."), context, outdated)


def _running_verdict(spec: DatasetSpec, progress: Progress | None) -> Verdict:
    if progress and progress.phase == WAITING_FOR_SOURCE:
        message = progress.message or f"Nothing is at {spec.source.uri} yet; upload it, and the preparation goes on by itself."
        return Verdict("False", WAITING_FOR_SOURCE, message)
    return Verdict("False", "Preparing", f"The data of {spec.source.uri} is being prepared.")


def _progress(progress: Progress | None) -> DatasetProgress | None:
    return DatasetProgress(phase=progress.phase, rows=progress.rows or 0) if progress else None


def _settled(
    seen: SeenDataset,
    status: DatasetStatus,
    verdict: Verdict,
    context: Context,
    actions: tuple[Action, ...] = (),
    *,
    requeue_after: float | None = None,
    endpoint: str | None = None,
    refresh_secret: bool = False,
) -> Plan:
    """A plan whose status carries the verdict and speaks of the current generation."""
    generation = seen.parent.generation
    after = status.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions.settle(status.conditions, {READY: verdict}, generation=generation, now=context.now),
        }
    )
    return Plan(
        actions=actions,
        status=after.to_json(),
        notes=conditions.notes(status.conditions, READY, verdict),
        requeue_after=requeue_after,
        endpoint=endpoint,
        refresh_secret=refresh_secret,
    )
