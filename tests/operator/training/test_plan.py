"""What a TrainingJob needs next, as a table: what was seen, and what is planned."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import builders as b
import pytest

from windlass_core.contracts import Progress
from windlass_core.resources import TrainingJobSpec, TrainingJobStatus
from windlass_operator import conditions, pods
from windlass_operator.api import JOB, MODEL, SERVICE, TRAINING_JOB, Manifest
from windlass_operator.plan import Apply, Context, Create, Delete, Patch, Plan
from windlass_operator.training import manifests
from windlass_operator.training.plan import SeenTrainingJob, plan_training_job

VERSION = {"version": 3, "digest": "sha256:data3"}
READY = b.condition("Ready", "True", "Prepared")
PINNED = {
    "observedGeneration": 1,
    "attempt": 1,
    "startedAt": "2026-01-01T11:59:00Z",
    "datasetVersion": 3,
    "datasetDigest": "sha256:data3",
    "workers": {"ready": 0, "total": 2},
    "conditions": [b.condition("Succeeded", "Unknown", "Starting")],
}
PREPARED = b.dataset(status={"version": 3, "digest": "sha256:data3", "versions": [VERSION], "conditions": [READY]})
PUBLISHED = b.model_result(7).to_termination_message()


def run(status: Manifest | None = None, **spec: Any) -> Manifest:
    return b.training_job(status=PINNED if status is None else status, **spec)


def seen(manifest: Manifest, *listed: Manifest, **given: Any) -> SeenTrainingJob:
    """A run whose children exist unless the test says otherwise."""
    parent = b.parent(TRAINING_JOB, manifest)
    service = b.existing(manifests.service(parent), uid="service-uid")
    children: dict[str, Any] = {"service": service, "job": job(manifest)}
    return SeenTrainingJob(parent, pods=pods.read_all(listed), **{**children, **given})


def job(manifest: Manifest, *, status: Manifest | None = None, **metadata: Any) -> Manifest:
    parent = b.parent(TRAINING_JOB, manifest)
    reference = b.model_result(3).model
    assert reference is not None
    spec = TrainingJobSpec.model_validate({**parent.spec, "workers": 2})
    made = manifests.job(parent, spec, reference.version, 1, None, b.SETTINGS)
    return b.existing(made, uid="job-uid", status=status, **metadata)


def worker(index: int = 0, *, name: str | None = None, failures: int = 0, **given: Any) -> Manifest:
    labels = {manifests.ATTEMPT_LABEL: "1"}
    status = given.pop("status")
    return b.pod(name or f"worker-{index}", index=index, failures=failures, labels=labels, **given, **status)


def planned(view: SeenTrainingJob, context: Context = b.CONTEXT) -> tuple[Plan, TrainingJobStatus, str, str, str]:
    plan = plan_training_job(view, context)
    status = TrainingJobStatus.model_validate(plan.status)
    summary = conditions.find(status.conditions, "Succeeded")
    assert summary is not None
    return plan, status, summary.status, summary.reason, summary.message


@pytest.mark.parametrize(
    ("dataset", "wanted", "says"),
    [
        pytest.param(None, None, "does not exist yet", id="the Dataset does not exist"),
        pytest.param(b.dataset(), None, "it has just been made or edited", id="nobody has looked at the Dataset yet"),
        pytest.param(
            b.dataset(status={"conditions": [b.condition("Ready", "False", "WaitingForSource", "Upload it.")]}),
            None,
            "(WaitingForSource): Upload it.",
            id="the Dataset waits for its source",
        ),
        pytest.param(
            b.dataset(status={**PREPARED["status"]}, metadata={"generation": 2}),
            None,
            "it has just been made or edited",
            id="the Dataset was edited after its version was made",
        ),
        pytest.param(PREPARED, 9, "has no version 9; it has 3", id="the version asked for is not there"),
    ],
)
def test_it_waits_for_data_when(dataset: Manifest | None, wanted: int | None, says: str) -> None:
    reference = {"name": "digits", **({"version": wanted} if wanted else {})}
    view = seen(run({}, dataset=reference), dataset=dataset, job=None, service=None)
    plan, status, succeeded, reason, message = planned(view)
    assert (succeeded, reason) == ("Unknown", "WaitingForDataset")
    assert says in message
    assert "digits" in message
    assert plan.actions == ()
    assert status.dataset_version is None
    assert plan.requeue_after is None, "the Dataset's own change brings the run back"


@pytest.mark.parametrize(
    ("reference", "dataset"),
    [
        pytest.param({"name": "digits"}, PREPARED, id="the newest version of a ready Dataset"),
        pytest.param(
            {"name": "digits", "version": 3},
            b.dataset(status={"versions": [VERSION], "conditions": [b.condition("Ready", "False", "Preparing")]}),
            id="a numbered version, even while the next one is being prepared",
        ),
    ],
)
def test_it_fixes_the_version_in_status_before_anything_else(reference: Manifest, dataset: Manifest) -> None:
    plan, status, *_ = planned(seen(run({}, dataset=reference), dataset=dataset, job=None, service=None))
    assert (status.dataset_version, status.dataset_digest, status.attempt) == (3, "sha256:data3", 1)
    assert status.started_at == b.NOW
    assert (plan.actions, plan.requeue_after) == ((), 0.0)


def test_then_it_makes_the_service_and_the_job() -> None:
    plan, *_ = planned(seen(run(), job=None, service=None))
    service, made = plan.actions
    assert isinstance(service, Apply)
    assert service.kind is SERVICE
    assert isinstance(made, Create)
    assert made.kind is JOB
    assert made.manifest["metadata"]["name"] == "train-run-a1"
    told = b.run_spec(made.manifest)
    assert told["dataset"] == {
        "name": "digits", "version": 3, "uri": "store://datasets/digits/3", "digest": "sha256:data3",
    }  # fmt: skip
    assert told["rendezvousHost"] == "train-run-a1-0.train-run.team.svc"


RUNNING = [worker(index, status=b.running(address=f"10.0.0.{index}")) for index in range(2)]
FAILED = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 41"}]}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: nothing to preempt."


@pytest.mark.parametrize(
    ("listed", "reason", "says"),
    [
        pytest.param([], "Starting", "2 workers are being started", id="there are no pods yet"),
        pytest.param(RUNNING, "Running", "2 of 2 workers run", id="all workers run"),
        pytest.param(RUNNING[:1], "Starting", "1 of 2 workers run", id="one worker runs"),
        pytest.param(
            [RUNNING[0], worker(1, status=b.unschedulable(GPU))],
            "Unschedulable",
            "nvidia.com/gpu on 3 of them",
            id="a worker finds no node, and for want of what",
        ),
        pytest.param(
            [worker(0, status=b.waiting("ImagePullBackOff", "not found"))], "ImagePullFailed", "not found", id="no image"
        ),
        pytest.param(
            [RUNNING[0], worker(1, status=b.ended(137, reason="OOMKilled"))],
            "OutOfMemory",
            "started again, restart 1 of at most 3.",
            id="a worker ran out of memory and comes back",
        ),
        pytest.param(
            [RUNNING[0], worker(1, status=b.disrupted("PreemptionByScheduler"))],
            "Preempted",
            "uses no restart up",
            id="a worker was preempted, which costs no restart",
        ),
        pytest.param(
            [RUNNING[0], worker(1, status=b.ended(44))], "Stopped", "uses no restart up", id="a worker stopped after saving"
        ),
    ],
)
def test_while_it_goes_on_its_summary_is_unknown_and_says_why(listed: list[Manifest], reason: str, says: str) -> None:
    plan, _, succeeded, told, message = planned(seen(run(), *listed))
    assert (succeeded, told) == ("Unknown", reason)
    assert says in message
    assert plan.actions == ()


@pytest.mark.parametrize(
    ("listed", "job_status", "restarts", "reason", "says"),
    [
        pytest.param(
            [RUNNING[0], worker(1, status=b.ended(41, b.failed_result("BadData", "Column a is text.")))],
            {},
            3,
            "BadData",
            "Column a is text.",
            id="a worker says that the data is bad, before the Job says anything",
        ),
        pytest.param(
            [worker(0, status=b.ended(40, b.failed_result("UnknownRecipe", "There is no recipe x.")))],
            FAILED,
            3,
            "UnknownRecipe",
            "There is no recipe x.",
            id="a worker gives its own reason",
        ),
        pytest.param([worker(0, status=b.ended(42))], {}, 3, "CodeRaised", "worker-0", id="code raised and said nothing"),
        pytest.param([worker(0, status=b.ended(43))], {}, 3, "BadDevice", "accelerator", id="a broken accelerator"),
        pytest.param(
            [worker(1, failures=3, status=b.ended(137, reason="OOMKilled"))],
            {},
            3,
            "OutOfMemory",
            "It was restarted 3 times before.",
            id="the last restart is used up",
        ),
        pytest.param([worker(0, status=b.ended(1))], {}, 0, "Crashed", "code 1", id="no restarts are allowed"),
        pytest.param(
            [],
            {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many"}]},
            3,
            "BackoffLimitExceeded",
            "too many",
            id="the Job failed and its pods are gone",
        ),
        pytest.param(
            RUNNING,
            {"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]},
            3,
            "DeadlineExceeded",
            "stop.deadlineSeconds",
            id="the deadline passed",
        ),
    ],
)
def test_it_fails_for_good_when(listed: list[Manifest], job_status: Manifest, restarts: int, reason: str, says: str) -> None:
    manifest = run(restarts={"max": restarts})
    plan, status, succeeded, told, message = planned(seen(manifest, *listed, job=job(manifest, status=job_status)))
    assert (succeeded, told) == ("False", reason)
    assert says in message
    assert status.finished_at == b.NOW
    assert plan.actions == (Delete(SERVICE, b.NAMESPACE, "train-run", "service-uid"),)
    assert [note.warning for note in plan.notes] == [True]


def test_counts_of_restarts_never_go_down() -> None:
    listed = [worker(0, failures=2, status=b.running()), worker(1, failures=1, status=b.running())]
    _, status, *_ = planned(seen(run(), *listed))
    assert status.restarts == 3
    _, status, *_ = planned(seen(run({**PINNED, "restarts": 5}), *RUNNING))
    assert status.restarts == 5


DONE = [worker(0, status=b.ended(0, PUBLISHED)), worker(1, status=b.running())]


@pytest.mark.parametrize(
    ("listed", "job_status"),
    [
        pytest.param(DONE, {}, id="worker 0 ended, before the Job says anything"),
        pytest.param(DONE[:1], COMPLETE, id="the Job is complete"),
        pytest.param([worker(0, status=b.ended(44, PUBLISHED))], {}, id="worker 0 was stopped after it had published"),
        pytest.param([worker(0, status=b.ended(137, PUBLISHED)), RUNNING[1]], {}, id="worker 0 was killed after it said so"),
        pytest.param([worker(1, status=b.ended(0, PUBLISHED)), RUNNING[0]], {}, id="another worker is the one that knows"),
    ],
)
def test_a_published_version_is_success_when(listed: list[Manifest], job_status: Manifest) -> None:
    manifest = run()
    finished = b.model(versions=[7])
    finished["status"]["versions"][0].update(
        {"job": "run", "jobUid": "run-uid", "datasetVersion": 3, "metrics": {"accuracy": "0.9712"}, "createdAt": b.NOW}
    )
    plan, status, succeeded, reason, message = planned(
        seen(manifest, *listed, job=job(manifest, status=job_status), model=finished)
    )
    assert (succeeded, reason) == ("True", "Published")
    assert status.model is not None
    assert (status.model.version, status.metrics) == (7, {"accuracy": "0.9712"})
    assert message == "Version 7 of Model digits is published."
    assert plan.actions == (Delete(SERVICE, b.NAMESPACE, "train-run", "service-uid"),)


def test_the_model_is_made_without_an_owner_when_there_is_none() -> None:
    plan, _, succeeded, reason, _ = planned(seen(run(), *DONE))
    assert (succeeded, reason, plan.requeue_after) == ("Unknown", "Publishing", 0.0)
    (made,) = plan.actions
    assert isinstance(made, Create)
    assert made.kind is MODEL
    assert "ownerReferences" not in made.manifest["metadata"]


def test_the_version_is_added_beside_those_of_others_only_if_nobody_changed_the_model_meanwhile() -> None:
    other = b.model(versions=[6, 8], metadata={"resourceVersion": "55"})
    plan, *_ = planned(seen(run(), *DONE, model=other))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    assert (patch.kind, patch.subresource, patch.resource_version) == (MODEL, "status", "55")
    assert [version["version"] for version in patch.patch["status"]["versions"]] == [8, 7, 6]


ALIASED = {"publish": {"alias": "production"}}


def listed_model(aliases: dict[str, int], annotation: str | None = None) -> Manifest:
    metadata: Manifest = {"resourceVersion": "56"}
    if annotation is not None:
        metadata["annotations"] = {"windlass.dev/published-production": annotation}
    manifest = b.model(versions=[7], aliases=aliases, metadata=metadata)
    manifest["status"]["versions"][0].update(
        {"job": "run", "jobUid": "run-uid", "datasetVersion": 3, "metrics": {"accuracy": "0.9712"}, "createdAt": b.NOW}
    )
    return manifest


@pytest.mark.parametrize(
    ("model", "aliases"),
    [
        pytest.param(listed_model({}), [("production", 7)], id="the alias is new"),
        pytest.param(
            listed_model({"canary": 2, "production": 6}), [("canary", 2), ("production", 7)], id="the others stay as they are"
        ),
        pytest.param(listed_model({"production": 6}, "6"), [("production", 7)], id="an earlier run moved it before"),
    ],
)
def test_the_alias_is_moved_and_noted_in_one_write_when(model: Manifest, aliases: list[tuple[str, int]]) -> None:
    plan, *_ = planned(seen(run(**ALIASED), *DONE, model=model))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    assert (patch.subresource, patch.resource_version) == (None, "56")
    assert patch.patch["metadata"]["annotations"] == {"windlass.dev/published-production": "7"}
    assert [(alias["name"], alias["version"]) for alias in patch.patch["spec"]["aliases"]] == aliases


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(listed_model({"production": 7}, "7"), id="it was moved already"),
        pytest.param(listed_model({"production": 5}, "7"), id="it was moved, and rolled back by hand since"),
        pytest.param(listed_model({"production": 9}, "9"), id="a newer version was promoted by another run"),
    ],
)
def test_the_alias_is_left_alone_when(model: Manifest) -> None:
    _, _, succeeded, reason, _ = planned(seen(run(**ALIASED), *DONE, model=model))
    assert (succeeded, reason) == ("True", "Published")


@pytest.mark.parametrize(
    ("view", "says"),
    [
        pytest.param(
            seen(run(), worker(0, status=b.ended(0)), job=job(run(), status=COMPLETE)), "gone", id="no pod tells what was made"
        ),
        pytest.param(seen(run(), job=job(run(), status=COMPLETE)), "gone", id="all pods are gone"),
        pytest.param(seen(run(), *RUNNING, job=None), "deleted while its workers ran", id="the Job was deleted by hand"),
    ],
)
def test_the_whole_group_begins_another_try_when(view: SeenTrainingJob, says: str) -> None:
    plan, status, succeeded, reason, message = planned(view)
    assert (succeeded, reason, status.attempt) == ("Unknown", "Restarting", 2)
    assert says in message
    assert (plan.actions, plan.requeue_after) == ((), 0.0)


def test_a_complete_job_whose_pods_still_report_is_given_time() -> None:
    manifest = run()
    _, status, succeeded, _, _ = planned(seen(manifest, *RUNNING, job=job(manifest, status=COMPLETE)))
    assert (succeeded, status.attempt) == ("Unknown", 1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param({"conditions": [b.condition("Succeeded", "True", "Published")]}, "Published", id="it succeeded"),
        pytest.param({"conditions": [b.condition("Succeeded", "False", "BadData")]}, "BadData", id="it failed"),
    ],
)
def test_an_ended_run_is_never_touched_again_whatever_becomes_of_its_children(status: Manifest, reason: str) -> None:
    assert plan_training_job(seen(run(status), job=None, service=None), b.CONTEXT) == Plan(), reason


def test_a_run_that_is_being_deleted_is_left_to_garbage_collection() -> None:
    manifest = b.training_job(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"})
    assert plan_training_job(seen(manifest, job=None), b.CONTEXT) == Plan()


def test_a_spec_that_is_not_valid_ends_the_run_and_names_the_field() -> None:
    _, _, succeeded, reason, message = planned(seen(run(workers=0), job=None, service=None))
    assert (succeeded, reason) == ("False", "InvalidSpec")
    assert "spec.workers" in message


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        pytest.param(None, "NameTaken", id="nobody owns it"),
        pytest.param(b.dataset("run", metadata={"uid": "other"}), "NameTaken", id="an object of another kind owns it"),
        pytest.param(
            b.training_job(metadata={"uid": "earlier"}), "WaitingForCleanup", id="an earlier run of the name owned it"
        ),
    ],
)
def test_a_job_of_that_name_that_is_not_ours_is_not_touched(owner: Manifest | None, reason: str) -> None:
    manifest = run()
    foreign = job(manifest)
    foreign["metadata"].pop("ownerReferences")
    plan, _, succeeded, told, message = planned(seen(manifest, job=b.owned(foreign, owner) if owner else foreign))
    assert (succeeded, told) == ("Unknown", reason)
    assert "train-run-a1" in message
    assert plan.actions == ()
    assert plan.requeue_after is not None, "nobody tells when a foreign object goes"


def test_the_deadline_counts_from_when_the_run_first_asked_for_pods() -> None:
    manifest = run(stop={"deadlineSeconds": 100})
    plan, *_ = planned(seen(manifest, job=None))
    made = plan.actions[-1]
    assert isinstance(made, Create)
    assert made.manifest["spec"]["activeDeadlineSeconds"] == 40
    late = replace(b.CONTEXT, now=b.NOW + timedelta(seconds=41))
    _, _, succeeded, reason, _ = planned(seen(manifest, job=None), late)
    assert (succeeded, reason) == ("False", "DeadlineExceeded")


def test_progress_and_checkpoint_are_told_and_whom_to_ask() -> None:
    told = Progress(
        phase="Training", step=120, steps=400, epoch=6, loss=0.123456, samples_per_second=999.6, eta_seconds=90.2,
        checkpoint={"step": 100, "at": b.NOW}, at=b.NOW,
    )  # fmt: skip
    plan, status, _, _, message = planned(seen(run(), *RUNNING), replace(b.CONTEXT, progress=told))
    assert status.progress is not None
    assert status.progress.to_json() == {
        "step": 120, "steps": 400, "epoch": 6, "loss": "0.1235", "samplesPerSecond": 1000, "eta": "1m30s",
    }  # fmt: skip
    assert status.checkpoint is not None
    assert status.checkpoint.step == 100
    assert message == "2 of 2 workers run: training."
    assert plan.endpoint == "10.0.0.0"


def test_what_a_restarted_worker_does_not_know_yet_stays_told() -> None:
    before = {
        **PINNED,
        "progress": {"step": 120, "steps": 400, "epoch": 6, "eta": "9s", "samplesPerSecond": 50},
        "checkpoint": {"step": 100, "at": "2026-01-01T11:59:00Z"},
    }
    loading = Progress(phase="Loading", at=b.NOW)
    _, status, *_ = planned(seen(run(before), *RUNNING), replace(b.CONTEXT, progress=loading))
    assert status.progress is not None
    assert (status.progress.step, status.progress.eta, status.progress.samples_per_second) == (120, None, None)


def test_a_quota_that_leaves_no_room_is_told() -> None:
    event = b.failed_create('Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=2')
    plan, _, succeeded, reason, _ = planned(seen(run(), refusals=(event,)))
    assert (succeeded, reason) == ("Unknown", "QuotaExceeded")
    assert plan.requeue_after is not None


def test_a_volume_store_serves_its_own_namespace_only() -> None:
    settings = replace(b.SETTINGS, store=replace(b.STORE, mode="volume"))
    plan, _, succeeded, reason, _ = planned(seen(run(), job=None), replace(b.CONTEXT, settings=settings))
    assert (succeeded, reason, plan.actions) == ("Unknown", "StoreOutOfReach", ())


def test_a_service_that_was_changed_by_hand_is_put_right() -> None:
    manifest = run()
    view = seen(manifest, *RUNNING)
    assert view.service is not None
    bent = {**view.service, "spec": {**view.service["spec"], "publishNotReadyAddresses": False}}
    plan, *_ = planned(replace(view, service=bent))
    assert [type(action) for action in plan.actions] == [Apply]
