"""Decides what a Dataset needs next: a Job for its current spec, another try, or nothing. Pure."""

from dataclasses import dataclass, replace
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
from windlass_operator.diagnosis import Diagnosis
from windlass_operator.plan import Action, Context, Create, Delete, Parent, Plan
from windlass_operator.pods import Pod
from windlass_operator.verdicts import CLEANUP_POLL, REFUSAL_POLL, first_obstacle, invalid_spec, store_out_of_reach

READY = "Ready"
# The pod itself waits ten minutes for a missing source; then, and after the store was away, it starts again after this rest,
# doubled each time up to the largest.
FIRST_REST = timedelta(seconds=30)
LARGEST_REST = timedelta(seconds=600)
# Tries after which a fault that might pass is taken for one that does not. A missing source is waited for without end.
MAX_ATTEMPTS = 6
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
    parent = seen.parent
    if parent.deleting:
        return Plan()
    before = _current(parent)
    ready = conditions.find(before.conditions, READY)
    if ready and ready.status == "True" and ready.observed_generation == parent.generation:
        return Plan()  # what was prepared stays prepared, whatever becomes of the Job
    preparation = _Preparation(seen, context, before)
    try:
        spec = DatasetSpec.model_validate(parent.spec)
    except ValidationError as error:
        return preparation.settled(invalid_spec(error))
    if verdict := store_out_of_reach(parent, context):
        return preparation.settled(verdict)
    return preparation.plan(spec)


def _current(parent: Parent) -> DatasetStatus:
    """The status, with the count of tries begun anew for a new spec."""
    status = DatasetStatus.model_validate(parent.status)
    fresh = status.observed_generation != parent.generation or status.attempt == 0
    return status.model_copy(update={"attempt": 1, "progress": None}) if fresh else status


@dataclass(frozen=True)
class _Preparation:
    """One decision: what was seen, and the status as it grows."""

    seen: SeenDataset
    context: Context
    status: DatasetStatus
    outdated: tuple[Action, ...] = ()

    def plan(self, spec: DatasetSpec) -> Plan:
        """What the Job of the current spec and try asks for."""
        parent, live = self.seen.parent, self.seen.job
        name = job_name(parent, spec, self.status.attempt)
        current = replace(self, outdated=self._outdated(name))
        if obstacle := first_obstacle([(JOB, name, ownership(parent, live))]):
            return current.settled(obstacle, requeue_after=CLEANUP_POLL)
        if live is None:
            create = Create(JOB, job(parent, spec, self.status.attempt, self.context.settings))
            return current.settled(_starting(name), create)
        state = jobs.read(live)
        pods = tuple(pod for pod in self.seen.pods if pod.owner_uid == state.uid)
        return current._follow(spec, state, pods)

    def _outdated(self, name: str) -> tuple[Action, ...]:
        """Jobs of earlier specs and tries go; one that is going already is left alone."""
        ours = (job for job in self.seen.jobs if ownership(self.seen.parent, job) is Ownership.OURS)
        others = (job["metadata"] for job in ours if job["metadata"]["name"] != name)
        return tuple(
            Delete(JOB, metadata["namespace"], metadata["name"], metadata["uid"])
            for metadata in others
            if "deletionTimestamp" not in metadata
        )

    def _follow(self, spec: DatasetSpec, state: jobs.JobState, pods: tuple[Pod, ...]) -> Plan:
        result = next((pod.result.dataset for pod in pods if pod.result and pod.result.dataset), None)
        if result is not None:
            return self._prepared(result)
        if state.deleting:
            verdict = Verdict("False", "Starting", f"Job {state.name} was deleted; another one takes its place.")
            return self.settled(verdict, requeue_after=CLEANUP_POLL)
        if state.complete and all(pod.over for pod in pods):
            return self._next_attempt("ResultLost", "The Job ended, but its pod is gone and with it what it made.")
        if state.failure is not None:
            return self._job_failed(pods, state.failure[0])
        if pods and pods[-1].final:
            return self._job_failed(pods, "PodFailurePolicy")  # the Job says the same a second later
        return self._under_way(spec, state, pods[-1] if pods else None)

    def _prepared(self, result: DatasetResult) -> Plan:
        version = result.version
        entry = DatasetVersion(version=version.version, digest=version.digest)
        others = [known for known in self.status.versions if known.version != entry.version]
        after = self.status.model_copy(
            update={
                "version": version.version,
                "uri": version.uri,
                "digest": version.digest,
                "rows": result.rows,
                "column_count": result.column_count,
                "columns": [Column(name=column.name, type=column.type) for column in result.columns[:STATUS_COLUMNS]],
                "task": result.task,
                "versions": sorted([entry, *others], key=lambda known: -known.version)[:STATUS_VERSIONS],
                "progress": None,
            }
        )
        message = f"Version {version.version} is ready: {result.rows} rows, {result.column_count} columns."
        return replace(self, status=after).settled(Verdict("True", "Prepared", message))

    def _job_failed(self, pods: tuple[Pod, ...], why: str) -> Plan:
        """The Job gave up: for good when the pod said that trying again cannot help, else another try later."""
        last = next((pod for pod in reversed(pods) if pod.failed), None)
        if last is None and self._told_before():
            return Plan(actions=self.outdated)  # what was found out while the pod was there is the better account
        found = diagnosis.of_end(last) if last else Diagnosis(why or "JobFailed", "The Job failed, and its pods are gone.")
        resting = replace(self, status=self.status.model_copy(update={"progress": None}))
        missing = found.reason == SOURCE_NOT_FOUND
        reason = WAITING_FOR_SOURCE if missing else found.reason
        final = why == "PodFailurePolicy" or found.reason == "OutOfMemory" or self.status.attempt >= MAX_ATTEMPTS
        if final and not missing:
            return resting.settled(Verdict("False", reason, found.message, problem=True))
        rest = min(LARGEST_REST, FIRST_REST * 2 ** min(self.status.attempt - 1, 16))
        left = (_finished_at(last) or self.context.now) + rest - self.context.now
        if last is None or left <= timedelta(0):
            return resting._next_attempt(reason, found.message)
        message = f"{found.message} It is tried again {int(rest.total_seconds())} s after the last try."
        verdict = Verdict("False", reason, message, problem=not missing)
        return resting.settled(verdict, requeue_after=left.total_seconds())

    def _told_before(self) -> bool:
        ready = conditions.find(self.status.conditions, READY)
        current = ready is not None and ready.observed_generation == self.seen.parent.generation
        return ready is not None and current and ready.reason not in _UNDER_WAY

    def _next_attempt(self, reason: str, message: str) -> Plan:
        """Count one more try; its Job follows when the count is written."""
        after = self.status.model_copy(update={"attempt": self.status.attempt + 1, "progress": None})
        verdict = Verdict("False", reason, f"{message} Try {after.attempt} begins.")
        return replace(self, status=after).settled(verdict, requeue_after=0.0)

    def _under_way(self, spec: DatasetSpec, state: jobs.JobState, newest: Pod | None) -> Plan:
        if newest is None:
            refused = diagnosis.of_refusal(self.seen.refusals)
            verdict = _problem(refused) if refused else _starting(state.name)
            return self.settled(verdict, requeue_after=REFUSAL_POLL)
        if newest.running:
            progress = self.context.progress
            running = replace(self, status=self.status.model_copy(update={"progress": _progress(progress)}))
            return replace(running.settled(_running(spec, progress)), endpoint=newest.address or None)
        if newest.failed:
            found = diagnosis.of_end(newest)
            reason = WAITING_FOR_SOURCE if found.reason == SOURCE_NOT_FOUND else found.reason
            return self.settled(Verdict("False", reason, f"{found.message} The Job tries again.", problem=True))
        if trouble := diagnosis.of_waiting(newest):
            if trouble.reason in diagnosis.OF_THE_IMAGE and state.image != self.context.settings.images.preprocess:
                return self._next_attempt(trouble.reason, "The image could not be pulled, and there is another one now.")
            return replace(self.settled(_problem(trouble)), refresh_secret=trouble.reason == "ContainerConfigError")
        return self.settled(_starting(state.name))

    def settled(self, verdict: Verdict, *actions: Action, requeue_after: float | None = None) -> Plan:
        """A plan whose status carries the verdict and speaks of the current generation."""
        generation, before = self.seen.parent.generation, self.status.conditions
        after = self.status.model_copy(
            update={
                "observed_generation": generation,
                "conditions": conditions.settle(before, {READY: verdict}, generation=generation, now=self.context.now),
            }
        )
        notes = conditions.notes(before, READY, verdict)
        return Plan((*self.outdated, *actions), status=after.to_json(), notes=notes, requeue_after=requeue_after)


def _finished_at(pod: Pod | None) -> datetime | None:
    return datetime.fromisoformat(pod.ended.finished_at) if pod and pod.ended and pod.ended.finished_at else None


def _starting(job_name: str) -> Verdict:
    return Verdict("False", "Starting", f"Job {job_name} is being started to prepare the data.")


def _problem(found: Diagnosis) -> Verdict:
    return Verdict("False", found.reason, found.message, problem=True)


def _running(spec: DatasetSpec, progress: Progress | None) -> Verdict:
    if progress and progress.phase == WAITING_FOR_SOURCE:
        message = progress.message or f"Nothing is at {spec.source.uri} yet; upload it, and the preparation goes on by itself."
        return Verdict("False", WAITING_FOR_SOURCE, message)
    return Verdict("False", "Preparing", f"The data of {spec.source.uri} is being prepared.")


def _progress(progress: Progress | None) -> DatasetProgress | None:
    return DatasetProgress(phase=progress.phase, rows=progress.rows or 0) if progress else None
