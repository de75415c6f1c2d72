"""Runs and their workers as planners see them, for tests of TrainingJobs."""

from typing import Any

import builders as b

from windlass_core.contracts import VersionReference
from windlass_core.resources import TrainingJobSpec, TrainingJobStatus
from windlass_operator import conditions, pods
from windlass_operator.api import TRAINING_JOB, Manifest
from windlass_operator.plan import Context, Plan
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
    """A run whose data is fixed."""
    return b.training_job(status=PINNED if status is None else status, **spec)


def seen(manifest: Manifest, *listed: Manifest, **given: Any) -> SeenTrainingJob:
    """A run whose children exist unless the test says otherwise."""
    parent = b.parent(TRAINING_JOB, manifest)
    service = b.existing(manifests.service(parent), uid="service-uid")
    children: dict[str, Any] = {"service": service, "job": job(manifest)}
    return SeenTrainingJob(parent, pods=pods.read_all(listed), **{**children, **given})


def job(manifest: Manifest, *, status: Manifest | None = None, **metadata: Any) -> Manifest:
    """The Job of its first try."""
    parent = b.parent(TRAINING_JOB, manifest)
    reference = VersionReference(name="digits", version=3, uri="store://datasets/digits/3", digest="sha256:data3")
    spec = TrainingJobSpec.model_validate({**parent.spec, "workers": 2})
    made = manifests.job(parent, spec, reference, 1, None, b.SETTINGS)
    return b.existing(made, uid="job-uid", status=status, **metadata)


def worker(index: int = 0, *, name: str | None = None, failures: int = 0, **given: Any) -> Manifest:
    """One of its pods."""
    labels = {manifests.ATTEMPT_LABEL: "1"}
    status = given.pop("status")
    return b.pod(name or f"worker-{index}", index=index, failures=failures, labels=labels, **given, **status)


def planned(view: SeenTrainingJob, context: Context = b.CONTEXT) -> tuple[Plan, TrainingJobStatus, str, str, str]:
    """The plan, and what its status says: status, reason and message of the summary."""
    plan = plan_training_job(view, context)
    status = TrainingJobStatus.model_validate(plan.status)
    summary = conditions.find(status.conditions, "Succeeded")
    assert summary is not None
    return plan, status, summary.status, summary.reason, summary.message


RUNNING = [worker(index, status=b.running(address=f"10.0.0.{index}")) for index in range(2)]
FAILED = {"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 41"}]}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
