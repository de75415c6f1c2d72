"""Objects as the API server gives them, for tests of the operator: short to write, with what a test cares for as arguments."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from windlass_core.contracts import DatasetResult, ModelResult, RunResult, VersionReference
from windlass_operator.api import DATASET, INFERENCE_SERVICE, MODEL, POD, TRAINING_JOB, Kind, Manifest
from windlass_operator.plan import Context, Parent
from windlass_operator.settings import Images, Settings, StoreSettings

NAMESPACE = "team"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
IMAGES = Images(
    preprocess="registry/preprocess:1",
    train="registry/train:1",
    infer="registry/infer:1",
    infer_torch="registry/infer-torch:1",
)
STORE = StoreSettings(
    mode="embedded",
    url="s3://windlass",
    credentials={
        "AWS_ENDPOINT_URL": "http://windlass-store.windlass-system.svc:7070",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
    },
)
SETTINGS = Settings(images=IMAGES, store=STORE, own_namespace="windlass-system")
CONTEXT = Context(now=NOW, settings=SETTINGS)


def windlass(
    kind: Kind, name: str, spec: Manifest, status: Manifest | None = None, metadata: Manifest | None = None
) -> Manifest:
    """One of our four kinds."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"{name}-uid", "generation": 1, **(metadata or {})},
        "spec": spec,
        "status": status or {},
    }


def dataset(name: str = "digits", *, status: Manifest | None = None, metadata: Manifest | None = None, **spec: Any) -> Manifest:
    """A Dataset."""
    spec = {"source": {"uri": "store://raw/digits.csv"}, "label": "digit", **spec}
    return windlass(DATASET, name, spec, status, metadata)


def training_job(
    name: str = "run", *, status: Manifest | None = None, metadata: Manifest | None = None, **spec: Any
) -> Manifest:
    """A TrainingJob."""
    spec = {"dataset": {"name": "digits"}, "model": {"name": "digits", "recipe": "mlp"}, "workers": 2, **spec}
    return windlass(TRAINING_JOB, name, spec, status, metadata)


def model(
    name: str = "digits",
    *,
    versions: Sequence[int] = (),
    aliases: dict[str, int] | None = None,
    metadata: Manifest | None = None,
    **status: Any,
) -> Manifest:
    """A Model with versions and aliases."""
    spec = {"aliases": [{"name": alias, "version": version} for alias, version in (aliases or {}).items()]}
    listed = [model_version(version, name) for version in sorted(versions, reverse=True)]
    return windlass(MODEL, name, spec, {"versions": listed, **status} if listed or status else {}, metadata)


def model_version(version: int, name: str = "digits") -> Manifest:
    """A version as a Model's status lists it."""
    return {
        "version": version,
        "uri": f"store://models/{name}/{version}",
        "digest": f"sha256:model{version}",
        "bytes": 1000,
        "formats": ["onnx"],
        "metrics": {"accuracy": "0.97"},
        "job": f"run{version}",
        "jobUid": f"run{version}-uid",
        "dataset": "digits",
        "datasetVersion": 1,
        "createdAt": "2026-01-01T00:00:00Z",
    }


def inference_service(
    name: str = "digits", *, status: Manifest | None = None, metadata: Manifest | None = None, **spec: Any
) -> Manifest:
    """An InferenceService."""
    spec = {"model": {"name": "digits", "alias": "production"}, "replicas": {"min": 1, "max": 3}, **spec}
    return windlass(INFERENCE_SERVICE, name, spec, status, metadata)


def parent(kind: Kind, manifest: Manifest) -> Parent:
    """The object as planners get it."""
    return Parent.read(kind, manifest)


def condition(type_: str, status: str, reason: str, message: str = "", *, generation: int = 1) -> Manifest:
    """A condition in a status."""
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T11:00:00Z",
        "observedGeneration": generation,
    }


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """The manifest with a controller."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


def existing(manifest: Manifest, *, uid: str, status: Manifest | None = None, **metadata: Any) -> Manifest:
    """A child as the API server gives it after it was made."""
    given = {"uid": uid, "creationTimestamp": "2026-01-01T11:59:00Z", **metadata}
    return {**manifest, "metadata": {**manifest["metadata"], **given}, "status": status or {}}


def pod(
    name: str = "pod",
    *,
    owner_uid: str = "job-uid",
    labels: dict[str, str] | None = None,
    index: int = 0,
    failures: int = 0,
    job: bool = True,
    created: str = "2026-01-01T11:59:30Z",
    deleting: bool = False,
    **status: Any,
) -> Manifest:
    """A pod; `status` as its fields, best made by the functions below."""
    metadata: Manifest = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"{name}-uid",
        "creationTimestamp": created,
        "labels": {**({"batch.kubernetes.io/job-name": "job"} if job else {}), **(labels or {})},
        "annotations": {
            "batch.kubernetes.io/job-completion-index": str(index),
            "batch.kubernetes.io/job-index-failure-count": str(failures),
        },
        "ownerReferences": [{"kind": "Job", "name": "job", "uid": owner_uid, "controller": True}],
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    return {"apiVersion": POD.api_version, "kind": POD.name, "metadata": metadata, "status": status or pending()}


def pending() -> Manifest:
    """A pod that waits for a node or its container."""
    return {"phase": "Pending"}


def unschedulable(message: str) -> Manifest:
    """A pod that no node takes."""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [scheduled]}


def waiting(reason: str, message: str = "", *, ended_before: Manifest | None = None) -> Manifest:
    """A pod whose container does not start."""
    container = {"state": {"waiting": {"reason": reason, "message": message}}, "lastState": ended_before or {}}
    return {"phase": "Pending", "containerStatuses": [container]}


def running(*, ready: bool = False, address: str = "10.0.0.1") -> Manifest:
    """A pod that runs."""
    return {
        "phase": "Running",
        "podIP": address,
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [{"state": {"running": {}}, "started": True, "ready": ready}],
    }


def terminated(code: int, message: str = "", reason: str = "Error", finished: str = "2026-01-01T11:59:59Z") -> Manifest:
    """The state of a container that ended."""
    return {"terminated": {"exitCode": code, "message": message, "reason": reason, "finishedAt": finished}}


def ended(code: int, message: str = "", reason: str = "Error", finished: str = "2026-01-01T11:59:59Z") -> Manifest:
    """A pod that is over."""
    phase = "Succeeded" if code == 0 else "Failed"
    return {"phase": phase, "containerStatuses": [{"state": terminated(code, message, reason, finished)}]}


def disrupted(reason: str) -> Manifest:
    """A pod that the cluster took away."""
    return {
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}],
        "containerStatuses": [{"state": terminated(137)}],
    }


def failed_result(reason: str, message: str) -> str:
    """What a run says when it fails."""
    return RunResult(outcome="Failed", reason=reason, message=message).to_termination_message()


def dataset_result(version: int = 1, name: str = "digits", columns: int = 3) -> str:
    """What a preparation says when it is done."""
    return RunResult(
        outcome="Succeeded",
        reason="Published",
        dataset=DatasetResult(
            version=VersionReference(
                name=name, version=version, uri=f"store://datasets/{name}/{version}", digest=f"sha256:data{version}"
            ),
            rows=1797,
            column_count=columns,
            columns=[{"name": f"pixel{number}", "type": "float64"} for number in range(columns)],
            task="classification",
        ),
    ).to_termination_message()


def model_result(version: int = 1, name: str = "digits", **fields: Any) -> RunResult:
    """What a run says when it has published; `fields` are those of ModelResult."""
    return RunResult(
        outcome="Succeeded",
        reason="Published",
        model=ModelResult(
            version=VersionReference(
                name=name, version=version, uri=f"store://models/{name}/{version}", digest=f"sha256:model{version}"
            ),
            **{"bytes": 1000, "formats": ["onnx"], "metrics": {"accuracy": 0.97123}, "step": 400, "created_at": NOW, **fields},
        ),
    )


def failed_create(message: str, at: str = "2026-01-01T12:00:00Z") -> Manifest:
    """The Event by which the Job controller says that it may not make a pod."""
    return {"reason": "FailedCreate", "message": message, "lastTimestamp": at}


def run_spec(manifest: Manifest) -> Manifest:
    """What the pods of a Job or Deployment are told to do."""
    environment = manifest["spec"]["template"]["spec"]["containers"][0]["env"]
    told: Manifest = json.loads(next(entry["value"] for entry in environment if entry["name"] == "WINDLASS_RUN_SPEC"))
    return told
