"""What a Dataset needs next, as a table: what was seen, and what is planned."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import builders as b
import pytest

from windlass_core.contracts import Progress
from windlass_core.resources import DatasetSpec, DatasetStatus
from windlass_operator import conditions, pods
from windlass_operator.api import DATASET, JOB, Manifest
from windlass_operator.dataset import manifests
from windlass_operator.dataset.plan import SeenDataset, plan_dataset, wanted_job
from windlass_operator.plan import Context, Create, Delete, Plan

OLD_VERSION = {
    "observedGeneration": 1,
    "attempt": 1,
    "version": 1,
    "uri": "store://datasets/digits/1",
    "digest": "sha256:data1",
    "rows": 100,
    "versions": [{"version": 1, "digest": "sha256:data1"}],
    "conditions": [b.condition("Ready", "True", "Prepared")],
}
UNDER_WAY = {"observedGeneration": 1, "attempt": 1, "conditions": [b.condition("Ready", "False", "Preparing")]}
POLICY = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 41"}]}
BACKOFF = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "four pods"}]}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


def job(
    manifest: Manifest, attempt: int = 1, *, uid: str = "job-uid", status: Manifest | None = None, **metadata: Any
) -> Manifest:
    parent = b.parent(DATASET, manifest)
    made = manifests.job(parent, DatasetSpec.model_validate(parent.spec), attempt, b.SETTINGS)
    return b.existing(made, uid=uid, status=status, **metadata)


def planned(view: SeenDataset, context: Context = b.CONTEXT) -> tuple[Plan, DatasetStatus, str, str, str]:
    plan = plan_dataset(view, context)
    status = DatasetStatus.model_validate(plan.status)
    ready = conditions.find(status.conditions, "Ready")
    assert ready is not None
    return plan, status, ready.status, ready.reason, ready.message


def seen(
    *listed: Manifest, status: Manifest | None = None, job_status: Manifest | None = None, attempt: int = 1
) -> SeenDataset:
    """A Dataset whose Job exists."""
    manifest = b.dataset(status={**(UNDER_WAY if status is None else status), "attempt": attempt})
    made = job(manifest, attempt, status=job_status)
    return SeenDataset(b.parent(DATASET, manifest), job=made, jobs=(made,), pods=pods.read_all(listed))


def test_a_new_dataset_gets_a_job_that_knows_the_whole_spec() -> None:
    manifest = b.dataset(steps=[{"drop": {"columns": ["id"]}}])
    plan, status, ready, reason, _ = planned(SeenDataset(b.parent(DATASET, manifest)))
    (made,) = plan.actions
    assert isinstance(made, Create)
    assert made.kind is JOB
    assert b.run_spec(made.manifest)["spec"]["steps"] == [{"drop": {"columns": ["id"]}}]
    assert (ready, reason, status.attempt, status.observed_generation) == ("False", "Starting", 1, 1)


def test_a_changed_spec_gets_a_new_job_and_the_old_one_goes_while_the_old_version_stays_usable() -> None:
    before = b.dataset(status=OLD_VERSION)
    after = b.dataset(status=OLD_VERSION, metadata={"generation": 2}, label="other")
    old = job(before, uid="old-uid")
    plan, status, ready, reason, _ = planned(SeenDataset(b.parent(DATASET, after), jobs=(old,)))
    delete, create = plan.actions
    assert delete == Delete(JOB, b.NAMESPACE, old["metadata"]["name"], "old-uid")
    assert isinstance(create, Create)
    assert create.manifest["metadata"]["name"] != old["metadata"]["name"]
    assert (ready, reason, status.observed_generation) == ("False", "Starting", 2)
    assert (status.version, status.digest, status.rows) == (1, "sha256:data1", 100)


def test_an_old_job_that_is_going_already_is_left_alone() -> None:
    after = b.dataset(status=OLD_VERSION, metadata={"generation": 2}, label="other")
    old = job(b.dataset(), uid="old-uid", deletionTimestamp="2026-01-01T12:00:00Z")
    plan, *_ = planned(SeenDataset(b.parent(DATASET, after), jobs=(old,)))
    assert [type(action) for action in plan.actions] == [Create]


@pytest.mark.parametrize(
    ("listed", "reason", "says"),
    [
        pytest.param([], "Starting", "is being started", id="there is no pod yet"),
        pytest.param([b.pod()], "Starting", "is being started", id="its pod has no node yet"),
        pytest.param([b.pod(**b.running())], "Preparing", "store://raw/digits.csv", id="its pod runs"),
        pytest.param(
            [b.pod(**b.unschedulable("0/1 nodes are available: 1 Insufficient memory."))],
            "Unschedulable",
            "memory on 1 of them",
            id="no node has room",
        ),
        pytest.param([b.pod(**b.waiting("ErrImagePull", "denied"))], "ImagePullFailed", "denied", id="no image"),
        pytest.param(
            [b.pod(**b.ended(1, b.failed_result("Unavailable", "The store does not answer.")))],
            "Unavailable",
            "The Job tries again.",
            id="the store was away and the Job tries again",
        ),
    ],
)
def test_while_it_is_prepared_it_is_not_ready_and_says_why(listed: list[Manifest], reason: str, says: str) -> None:
    plan, _, ready, told, message = planned(seen(*listed))
    assert (ready, told) == ("False", reason)
    assert says in message
    assert plan.actions == ()


def test_a_missing_source_is_waited_for_and_named() -> None:
    told = Progress(phase="WaitingForSource", at=b.NOW)
    plan, status, _, reason, message = planned(seen(b.pod(**b.running())), replace(b.CONTEXT, progress=told))
    assert reason == "WaitingForSource"
    assert "store://raw/digits.csv" in message
    assert status.progress is not None
    assert status.progress.phase == "WaitingForSource"
    assert plan.endpoint == "10.0.0.1"
    assert not any(note.warning for note in plan.notes), "waiting is no fault"


def test_the_result_comes_from_the_pod_before_the_job_says_anything() -> None:
    plan, status, ready, reason, message = planned(seen(b.pod(**b.ended(0, b.dataset_result(2, columns=40)))))
    assert (ready, reason) == ("True", "Prepared")
    assert (status.version, status.digest, status.rows, status.column_count, status.task) == (
        2, "sha256:data2", 1797, 40, "classification",
    )  # fmt: skip
    assert len(status.columns) == 32
    assert message == "Version 2 is ready: 1797 rows, 40 columns."
    assert plan.actions == ()


def test_versions_stay_listed_for_runs_that_name_them() -> None:
    _, status, *_ = planned(seen(b.pod(**b.ended(0, b.dataset_result(2))), status={**OLD_VERSION, **UNDER_WAY}))
    assert [(version.version, version.digest) for version in status.versions] == [(2, "sha256:data2"), (1, "sha256:data1")]


def test_what_was_prepared_stays_prepared_when_the_job_is_deleted() -> None:
    assert plan_dataset(SeenDataset(b.parent(DATASET, b.dataset(status=OLD_VERSION))), b.CONTEXT) == Plan()


@pytest.mark.parametrize(
    ("listed", "job_status", "attempt", "reason"),
    [
        pytest.param(
            b.pod(**b.ended(41, b.failed_result("LabelMissing", "There is no column digit."))),
            POLICY,
            1,
            "LabelMissing",
            id="the data is bad",
        ),
        pytest.param(b.pod(**b.ended(41)), {}, 1, "BadData", id="the pod says so, before the Job says anything"),
        pytest.param(b.pod(**b.ended(40)), POLICY, 1, "BadConfiguration", id="the spec asks for what cannot be"),
        pytest.param(b.pod(**b.ended(137, reason="OOMKilled")), BACKOFF, 1, "OutOfMemory", id="memory was too small"),
        pytest.param(b.pod(**b.ended(1)), BACKOFF, 6, "Crashed", id="what might have passed did not in six tries"),
    ],
)
def test_it_gives_up_when(listed: Manifest, job_status: Manifest, attempt: int, reason: str) -> None:
    plan, status, ready, told, _ = planned(seen(listed, job_status=job_status, attempt=attempt))
    assert (ready, told, status.attempt) == ("False", reason, attempt)
    assert (plan.actions, plan.requeue_after) == ((), None)
    assert [note.warning for note in plan.notes] == [True]


def test_what_was_said_while_the_pod_was_there_is_kept_when_it_is_gone() -> None:
    told = {**UNDER_WAY, "conditions": [b.condition("Ready", "False", "LabelMissing", "There is no column digit.")]}
    assert plan_dataset(seen(status=told, job_status=POLICY), b.CONTEXT) == Plan()


@pytest.mark.parametrize(
    ("reason", "attempt", "rest"),
    [
        pytest.param("Unavailable", 1, 30, id="the first time half a minute"),
        pytest.param("Unavailable", 3, 120, id="each time twice as long"),
        pytest.param("SourceNotFound", 40, 600, id="a missing source without end, every ten minutes"),
    ],
)
def test_a_fault_that_may_pass_is_tried_again_after_a_rest(reason: str, attempt: int, rest: int) -> None:
    failed = b.pod(**b.ended(1, b.failed_result(reason, "Not now."), finished="2026-01-01T12:00:00Z"))
    view = seen(failed, job_status=BACKOFF, attempt=attempt)
    plan, status, _, _, message = planned(view)
    assert (status.attempt, plan.requeue_after) == (attempt, float(rest))
    assert f"{rest} s" in message
    later = replace(b.CONTEXT, now=b.NOW + timedelta(seconds=rest))
    plan, status, *_ = planned(view, later)
    assert (status.attempt, plan.requeue_after, plan.actions) == (attempt + 1, 0.0, ())


def test_the_next_try_is_another_job_and_the_last_one_goes() -> None:
    manifest = b.dataset(status={**UNDER_WAY, "attempt": 2})
    first = job(manifest, 1, uid="first-uid", status=BACKOFF)
    plan, *_ = planned(SeenDataset(b.parent(DATASET, manifest), jobs=(first,)))
    delete, create = plan.actions
    assert isinstance(delete, Delete)
    assert isinstance(create, Create)
    assert delete.uid == "first-uid"


def test_an_image_that_could_not_be_pulled_is_given_up_when_there_is_another() -> None:
    other = replace(b.CONTEXT, settings=replace(b.SETTINGS, images=replace(b.IMAGES, preprocess="registry/preprocess:2")))
    _, status, *_ = planned(seen(b.pod(**b.waiting("ErrImagePull", "not found"))), other)
    assert status.attempt == 2
    _, status, *_ = planned(seen(b.pod(**b.running())), other)
    assert status.attempt == 1, "a preparation that runs is left alone by an upgrade"


def test_a_job_whose_result_is_lost_is_done_again() -> None:
    _, status, _, reason, _ = planned(seen(job_status=COMPLETE))
    assert (reason, status.attempt) == ("ResultLost", 2)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param('pods "x" is forbidden: exceeded quota: small', "QuotaExceeded", id="the quota is used up"),
        pytest.param('pods "x" is forbidden: violates PodSecurity "restricted"', "PodSecurityRefused", id="the pod is refused"),
    ],
)
def test_why_no_pod_is_made_is_told(event: str, reason: str) -> None:
    view = replace(seen(), refusals=(b.failed_create(event),))
    plan, _, _, told, _ = planned(view)
    assert told == reason
    assert plan.requeue_after is not None


def test_a_pod_that_misses_the_secret_has_it_applied_again() -> None:
    plan, _, _, reason, _ = planned(seen(b.pod(**b.waiting("CreateContainerConfigError", 'secret "windlass-store" not found'))))
    assert (reason, plan.refresh_secret) == ("ContainerConfigError", True)


def test_a_spec_older_than_a_rule_is_told_and_not_tried() -> None:
    manifest = b.dataset(split={"validation": 0.9})
    plan, _, ready, reason, message = planned(SeenDataset(b.parent(DATASET, manifest)))
    assert (ready, reason, plan.actions) == ("False", "InvalidSpec", ())
    assert "spec.split.validation" in message
    assert wanted_job(b.parent(DATASET, manifest)) is None


def test_a_job_of_the_name_that_is_not_ours_is_not_touched() -> None:
    view = seen()
    assert view.job is not None
    foreign = {**view.job, "metadata": {**view.job["metadata"], "ownerReferences": []}}
    plan, _, _, reason, _ = planned(replace(view, job=foreign, jobs=()))
    assert (reason, plan.actions) == ("NameTaken", ())


def test_a_recreated_dataset_has_other_job_names_than_the_one_before() -> None:
    first, second = (b.parent(DATASET, b.dataset(metadata={"uid": uid})) for uid in ("one", "two"))
    assert wanted_job(first) != wanted_job(second)
