"""What a TrainingJob needs next while it goes on, as a table: what was seen, and what is planned."""

from dataclasses import replace
from datetime import timedelta

import builders as b
import pytest
from run_views import PINNED, PREPARED, RUNNING, VERSION, planned, run, seen, worker

from windlass_core.contracts import Progress
from windlass_operator.api import JOB, SERVICE, Manifest
from windlass_operator.plan import Apply, Create


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


@pytest.mark.parametrize(
    "listed", [pytest.param([], id="any worker"), pytest.param(RUNNING[:1], id="the second worker, while the first runs")]
)
def test_a_quota_is_told_that_leaves_no_room_for(listed: list[Manifest]) -> None:
    event = b.failed_create('Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=2')
    plan, _, succeeded, reason, _ = planned(seen(run(), *listed, refusals=(event,)))
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
