"""Decides what a run needs next: its data, its workers, its place in the Model, or nothing more. Pure."""

from dataclasses import dataclass, replace
from datetime import timedelta

from pydantic import ValidationError

from windlass_core.contracts import ModelResult, VersionReference
from windlass_core.resources import TrainingJobSpec, TrainingJobStatus
from windlass_core.resources.common import ModelVersionReference
from windlass_core.resources.model import OmittedFormat
from windlass_core.resources.training_job import Workers
from windlass_operator import conditions, diagnosis, jobs
from windlass_operator.api import JOB, SERVICE, Manifest
from windlass_operator.compare import Ownership, covers, ownership
from windlass_operator.conditions import Verdict
from windlass_operator.plan import Action, Apply, Context, Create, Delete, Note, Parent, Plan
from windlass_operator.pods import Pod
from windlass_operator.training import manifests, promotion, publish, workers
from windlass_operator.training.data import pin
from windlass_operator.verdicts import CLEANUP_POLL, REFUSAL_POLL, first_obstacle, invalid_spec, store_out_of_reach

SUCCEEDED = "Succeeded"


@dataclass(frozen=True)
class SeenTrainingJob:
    """A TrainingJob, what it refers to, and what there is of its children.

    Attributes:
        model: the Model that gets the version; looked up only once there is a version.
        pods: of all tries, the oldest first.
        refusals: events of the current Job, where pods are missing.
    """

    parent: Parent
    dataset: Manifest | None = None
    model: Manifest | None = None
    service: Manifest | None = None
    job: Manifest | None = None
    pods: tuple[Pod, ...] = ()
    refusals: tuple[Manifest, ...] = ()


def plan_training_job(seen: SeenTrainingJob, context: Context) -> Plan:
    """The writes that bring a run on."""
    parent = seen.parent
    status = TrainingJobStatus.model_validate(parent.status)
    if parent.deleting or is_finished(status):
        return Plan()  # a run that ended stays ended, whatever becomes of its children
    try:
        spec = TrainingJobSpec.model_validate(parent.spec)
    except ValidationError as error:
        return _Run(seen, context, status, None).failed(invalid_spec(error))
    return _Run(seen, context, status, spec).plan()


def is_finished(status: TrainingJobStatus) -> bool:
    """Whether the run has ended, well or not."""
    condition = conditions.find(status.conditions, SUCCEEDED)
    return condition is not None and condition.status != "Unknown"


def published(pods: tuple[Pod, ...]) -> ModelResult | None:
    """The version that the workers say is in the store; every worker may be the one that knows."""
    return next((pod.result.model for pod in pods if pod.result and pod.result.model), None)


@dataclass(frozen=True)
class _Run:
    """One decision: what was seen, and the status as it grows."""

    seen: SeenTrainingJob
    context: Context
    status: TrainingJobStatus
    valid_spec: TrainingJobSpec | None

    @property
    def spec(self) -> TrainingJobSpec:
        assert self.valid_spec is not None  # noqa: S101  (only `failed` is called without one)
        return self.valid_spec

    def plan(self) -> Plan:
        parent, status = self.seen.parent, self.status
        if verdict := store_out_of_reach(parent, self.context):
            return self.waiting(verdict)
        if status.dataset_version is None or status.dataset_digest is None:
            return self._await_data()
        if (result := published(self.seen.pods)) is not None:
            return self._publish(status.dataset_version, result)
        service_name, name = manifests.service_name(parent), manifests.job_name(parent, status.attempt)
        owned = ownership(parent, self.seen.job)
        service_owned = ownership(parent, self.seen.service)
        if obstacle := first_obstacle([(SERVICE, service_name, service_owned), (JOB, name, owned)]):
            return self.waiting(obstacle, requeue_after=CLEANUP_POLL)
        if self.seen.job is None:
            return self._start(name, status.dataset_version, status.dataset_digest)
        return self._follow(jobs.read(self.seen.job))

    def _await_data(self) -> Plan:
        """Fix the version of the Dataset in status before anything relies on it; it is never looked up again."""
        found = pin(self.spec.dataset, self.seen.dataset)
        if isinstance(found, Verdict):
            return self.waiting(found)
        after = self.status.model_copy(
            update={
                "dataset_version": found.version,
                "dataset_digest": found.digest,
                "attempt": 1,
                "started_at": self.context.now,
                "workers": Workers(ready=0, total=self.spec.workers),
            }
        )
        return replace(self, status=after).waiting(self._starting(), requeue_after=0.0)

    def _start(self, name: str, dataset_version: int, digest: str) -> Plan:
        if any(not pod.over for pod in self._pods_of_try()):
            return self._next_attempt(f"Job {name} was deleted while its workers ran.")
        left = self._deadline_left()
        if left is not None and left <= 0:
            return self.failed(self._late())
        dataset = VersionReference(
            name=self.spec.dataset.name,
            version=dataset_version,
            uri=f"store://datasets/{self.spec.dataset.name}/{dataset_version}",
            digest=digest,
        )
        job = manifests.job(self.seen.parent, self.spec, dataset, self.status.attempt, left, self.context.settings)
        return self.waiting(self._starting(), (*self._service(), Create(JOB, job)))

    def _follow(self, state: jobs.JobState) -> Plan:
        pods = tuple(pod for pod in self._pods_of_try() if pod.owner_uid == state.uid)
        if state.deleting:
            verdict = Verdict("Unknown", "Starting", f"Job {state.name} was deleted; another one takes its place.")
            return self.waiting(verdict, requeue_after=CLEANUP_POLL)
        if state.failure is not None and state.failure[0] == "DeadlineExceeded":
            return self.failed(self._late())
        culprit = workers.culprit(pods, self.spec.restarts.max, job_failed=state.failure is not None)
        if culprit is not None:
            found = diagnosis.of_end(culprit)
            return self.failed(Verdict("False", found.reason, workers.last_failure(found, culprit), problem=True))
        if state.failure is not None:
            reason, message = state.failure
            return self.failed(Verdict("False", reason or "JobFailed", f"The Job failed: {message}", problem=True))
        if state.complete and all(pod.over for pod in pods):
            return self._next_attempt("The workers ended, but they are gone and with them what they made.")
        return self._under_way(state, pods)

    def _under_way(self, state: jobs.JobState, pods: tuple[Pod, ...]) -> Plan:
        group = workers.gather(pods, self.spec.workers)
        after = self.status.model_copy(
            update={
                "workers": Workers(ready=group.running, total=self.spec.workers),
                "restarts": max(self.status.restarts, group.restarts),
                **workers.progress_fields(self.status, self.context.progress),
            }
        )
        trouble = workers.trouble(group, self.spec.restarts.max) or self._missing(group)
        verdict = trouble or workers.state(group, self.context.progress) or self._starting()
        if verdict.reason in diagnosis.OF_THE_IMAGE and state.image != self.context.settings.images.train:
            return self._next_attempt("The image could not be pulled, and there is another one now.", state)
        return replace(self, status=after).waiting(
            verdict,
            self._service(),
            requeue_after=REFUSAL_POLL if group.missing and not state.complete else None,
            endpoint=group.endpoint,
            refresh_secret=verdict.reason == "ContainerConfigError",
        )

    def _missing(self, group: workers.Group) -> Verdict | None:
        refused = diagnosis.of_refusal(self.seen.refusals) if group.missing else None
        return Verdict("Unknown", refused.reason, refused.message, problem=True) if refused else None

    def _publish(self, dataset_version: int, result: ModelResult) -> Plan:
        step = publish.next_step(self.seen.parent, self.spec, dataset_version, result, self.seen.model)
        if step is not None:
            verdict = Verdict("Unknown", "Publishing", f"Version {result.version.version} is being added to its Model.")
            return self.waiting(verdict, (step,), requeue_after=0.0)
        reference = ModelVersionReference(
            name=result.version.name, version=result.version.version, digest=result.version.digest
        )
        progress = self.status.progress
        after = self.status.model_copy(
            update={
                "model": reference,
                "metrics": publish.metric_texts(result.metrics),
                "progress": progress.model_copy(update={"step": result.step, "eta": None}) if progress else None,
            }
        )
        hindered = publish.hindrance(result, self.seen.model)
        moved = self._alias_moved(reference.version, hindered)
        remark = "" if hindered else promotion.only_torch(result.formats, result.omitted)
        return replace(self, status=after)._ended(promotion.of_run(reference, moved, hindered, remark), moved)

    def _alias_moved(self, version: int, hindered: OmittedFormat | None) -> Verdict | None:
        alias, model = self.spec.publish.alias, self.seen.model
        if alias is None or model is None:
            return None
        return promotion.of_published(alias, version, newest=publish.newest_by_runs(model, alias), hindered=hindered)

    def failed(self, verdict: Verdict) -> Plan:
        """The run ends without a version. Workers that still run are ended by the Job, which failed with the first of them."""
        return self._ended(verdict)

    def _ended(self, verdict: Verdict, alias_moved: Verdict | None = None) -> Plan:
        service = self.seen.service
        ours = service is not None and ownership(self.seen.parent, service) is Ownership.OURS
        drop = (
            (Delete(SERVICE, self.seen.parent.namespace, service["metadata"]["name"], service["metadata"]["uid"]),)
            if (service is not None and ours)
            else ()
        )
        after = self.status.model_copy(
            update={
                "finished_at": self.context.now,
                "workers": self.status.workers and self.status.workers.model_copy(update={"ready": 0}),
            }
        )
        return replace(self, status=after)._settled(verdict, drop, alias_moved)

    def waiting(
        self,
        verdict: Verdict,
        actions: tuple[Action, ...] = (),
        *,
        requeue_after: float | None = None,
        endpoint: str | None = None,
        refresh_secret: bool = False,
    ) -> Plan:
        """The run goes on: its summary is Unknown whatever stands in its way."""
        plan = self._settled(replace(verdict, status="Unknown"), actions)
        return replace(plan, requeue_after=requeue_after, endpoint=endpoint, refresh_secret=refresh_secret)

    def _settled(self, verdict: Verdict, actions: tuple[Action, ...], alias_moved: Verdict | None = None) -> Plan:
        generation = self.seen.parent.generation
        verdicts = {SUCCEEDED: verdict}
        if self.valid_spec and (alias := self.spec.publish.alias):
            verdicts[promotion.ALIAS_MOVED] = alias_moved or promotion.of_unpublished(alias, verdict)
        after = self.status.model_copy(
            update={
                "observed_generation": generation,
                "conditions": conditions.settle(self.status.conditions, verdicts, generation=generation, now=self.context.now),
            }
        )
        notes: tuple[Note, ...] = conditions.notes(self.status.conditions, SUCCEEDED, verdict)
        return Plan(actions=actions, status=after.to_json(), notes=notes)

    def _next_attempt(self, why: str, old: jobs.JobState | None = None) -> Plan:
        """Begin the group anew under another name; finished work is found in the store, the rest resumes from a checkpoint.

        Args:
            old: the Job of this try, where it has to go first.
        """
        attempt = self.status.attempt + 1
        workers_now = Workers(ready=0, total=self.spec.workers)
        after = self.status.model_copy(
            update={"attempt": attempt, "restarts": self.status.restarts + 1, "workers": workers_now}
        )
        verdict = Verdict("Unknown", "Restarting", f"{why} Try {attempt} begins.", problem=True)
        drop = (Delete(JOB, old.namespace, old.name, old.uid),) if old else ()
        return replace(self, status=after).waiting(verdict, drop, requeue_after=0.0)

    def _service(self) -> tuple[Action, ...]:
        wanted = manifests.service(self.seen.parent)
        return () if self.seen.service is not None and covers(self.seen.service, wanted) else (Apply(SERVICE, wanted),)

    def _pods_of_try(self) -> tuple[Pod, ...]:
        attempt = str(self.status.attempt)
        return tuple(pod for pod in self.seen.pods if pod.labels.get(manifests.ATTEMPT_LABEL) == attempt)

    def _deadline_left(self) -> int | None:
        seconds, started = self.spec.stop.deadline_seconds, self.status.started_at
        if seconds is None or started is None:
            return None
        return int((started + timedelta(seconds=seconds) - self.context.now).total_seconds())

    def _late(self) -> Verdict:
        seconds = self.spec.stop.deadline_seconds
        message = f"The run was not done after stop.deadlineSeconds ({seconds} s); allow it more time or ask for less."
        return Verdict("False", "DeadlineExceeded", message, problem=True)

    def _starting(self) -> Verdict:
        number = self.spec.workers
        return Verdict(
            "Unknown", "Starting", "1 worker is being started." if number == 1 else f"{number} workers are being started."
        )
