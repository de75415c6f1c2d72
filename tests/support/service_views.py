"""InferenceServices, their children and their pods as planners see them, for tests."""

from dataclasses import replace
from typing import Any

import builders as b

from windlass_core.contracts import Progress, VersionReference
from windlass_core.resources import InferenceServiceSpec, InferenceServiceStatus
from windlass_operator import pods
from windlass_operator.api import DEPLOYMENT, INFERENCE_SERVICE, Kind, Manifest
from windlass_operator.inference import manifests
from windlass_operator.inference.plan import SeenInferenceService, plan_inference_service
from windlass_operator.plan import Plan

MODEL = b.model(versions=[1, 2], aliases={"production": 2})


def reference(version: int) -> VersionReference:
    """The reference of a version of the Model digits."""
    return VersionReference(
        name="digits", version=version, uri=f"store://models/digits/{version}", digest=f"sha256:model{version}"
    )


def template(manifest: Manifest, version: int) -> Manifest:
    """The pod that serves a version."""
    parent = b.parent(INFERENCE_SERVICE, manifest)
    return manifests.template(
        parent, InferenceServiceSpec.model_validate(parent.spec), reference(version), ["onnx"], b.SETTINGS
    )


def children(
    manifest: Manifest, version: int = 2, *, replicas: int = 1, status: Manifest | None = None
) -> dict[Kind, Manifest]:
    """All children as they should be."""
    parent = b.parent(INFERENCE_SERVICE, manifest)
    spec = InferenceServiceSpec.model_validate(parent.spec)
    made = {
        kind: b.existing(child, uid=f"{kind.plural}-uid")
        for kind, child in manifests.companions(parent, spec, b.SETTINGS).items()
    }
    deployment = b.existing(manifests.deployment(parent, template(manifest, version)), uid="deployment-uid", status=status)
    deployment["spec"] = {**deployment["spec"], "replicas": replicas}
    return {DEPLOYMENT: deployment, **made}


def server(name: str, version: int, *, deleting: bool = False, **status: Any) -> Manifest:
    """A pod of the service."""
    labels = template(b.inference_service(), version)["metadata"]["labels"]
    return b.pod(name, owner_uid="replicaset-uid", job=False, labels=labels, deleting=deleting, **status)


def seen(manifest: Manifest, *listed: Manifest, model: Manifest | None = MODEL, **given: Any) -> SeenInferenceService:
    """The service with its pods; `children` are as they should be unless given."""
    made = given.pop("children", None)
    return SeenInferenceService(
        b.parent(INFERENCE_SERVICE, manifest),
        model=model,
        children=children(manifest) if made is None else made,
        pods=pods.read_all(listed),
    )


def planned(
    view: SeenInferenceService, progress: Progress | None = None
) -> tuple[Plan, InferenceServiceStatus, dict[str, tuple[str, str, str]]]:
    """The plan, its status, and by type of condition its status, reason and message."""
    plan = plan_inference_service(view, replace(b.CONTEXT, progress=progress))
    status = InferenceServiceStatus.model_validate(plan.status)
    return plan, status, {c.type: (c.status, c.reason, c.message) for c in status.conditions}
