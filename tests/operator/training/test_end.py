"""When a run ends without a version, when it begins another try, and what is never touched."""

from dataclasses import replace

import builders as b
import pytest
from run_views import COMPLETE, FAILED, PINNED, RUNNING, job, planned, run, seen, worker

from windlass_operator.api import JOB, SERVICE, Manifest
from windlass_operator.plan import Delete, Plan
from windlass_operator.training.plan import SeenTrainingJob, plan_training_job


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
            [
                worker(0, status=b.ended(137, reason="OOMKilled")),
                worker(1, status=b.ended(1, b.failed_result("PeerLost", "The connection broke."))),
            ],
            {},
            0,
            "OutOfMemory",
            "worker-0",
            id="one worker was the cause and the other only lost it",
        ),
        pytest.param(
            [worker(1, status=b.ended(1, b.failed_result("PeerLost", "The connection broke.")))],
            {},
            0,
            "PeerLost",
            "The connection broke.",
            id="a worker lost another one that nobody knows of",
        ),
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


def test_an_image_that_could_not_be_pulled_is_given_up_when_there_is_another() -> None:
    other = replace(b.CONTEXT, settings=replace(b.SETTINGS, images=replace(b.IMAGES, train="registry/train:2")))
    view = seen(run(), worker(0, status=b.waiting("ImagePullBackOff", "not found")))
    plan, status, succeeded, _, _ = planned(view, other)
    assert (succeeded, status.attempt) == ("Unknown", 2)
    assert plan.actions == (Delete(JOB, b.NAMESPACE, "train-run-a1", "job-uid"),)
    _, status, *_ = planned(seen(run(), *RUNNING), other)
    assert status.attempt == 1, "a run that runs is left alone by an upgrade"


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
