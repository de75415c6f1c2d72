"""What the manifests of all children have in common: labels, owner references, the store's Secret. Pure."""

import base64
from collections.abc import Mapping
from typing import Any

from windlass_core.resources import API_GROUP
from windlass_operator.api import FIELD_MANAGER, JOB, SECRET, Kind, Manifest
from windlass_operator.plan import Parent
from windlass_operator.settings import StoreSettings

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER}"
STORE_NAME = "windlass-store"  # of the Secret, and of the volume claim in mode volume

# Kinds of parents, as the label on their pods names them.
PARENT_LABELS = {
    "Dataset": f"{API_GROUP}/dataset",
    "TrainingJob": f"{API_GROUP}/trainingjob",
    "InferenceService": f"{API_GROUP}/inferenceservice",
}
UID_LABEL = f"{API_GROUP}/uid"


def parent_label(parent: Parent) -> str:
    """The label that leads from a pod to its object."""
    return PARENT_LABELS[parent.kind.name]


def labels(parent: Parent, component: str) -> dict[str, str]:
    """The labels of every child: whose it is, and what it does (preprocess, train or infer).

    The uid tells the pods of an object from those of an earlier one of the same name, while they are still being removed.
    """
    return {
        MANAGED_BY: FIELD_MANAGER,
        "app.kubernetes.io/name": f"windlass-{component}",
        "app.kubernetes.io/part-of": "windlass",
        parent_label(parent): parent.name,
        UID_LABEL: parent.uid,
    }


def pod_selector(parent: Parent) -> str:
    """Label selector of an object's own pods."""
    return f"{parent_label(parent)}={parent.name},{UID_LABEL}={parent.uid}"


def child(
    parent: Parent,
    kind: Kind,
    name: str,
    component: str,
    spec: Mapping[str, Any],
    extra_labels: Mapping[str, str] | None = None,
) -> Manifest:
    """A child that garbage collection removes with its parent."""
    owner = {
        "apiVersion": parent.kind.api_version,
        "kind": parent.kind.name,
        "name": parent.name,
        "uid": parent.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": name,
            "namespace": parent.namespace,
            "labels": {**labels(parent, component), **(extra_labels or {})},
            "ownerReferences": [owner],
        },
        "spec": dict(spec),
    }


def job(parent: Parent, name: str, component: str, spec: Mapping[str, Any], extra_labels: Mapping[str, str]) -> Manifest:
    """A Job; its pods carry the same extra labels."""
    template = spec["template"]
    metadata = {**template["metadata"], "labels": {**template["metadata"]["labels"], **extra_labels}}
    spec = {**spec, "template": {**template, "metadata": metadata}}
    return child(parent, JOB, name, component, spec, extra_labels)


def store_secret(namespace: str, store: StoreSettings) -> Manifest:
    """The Secret by which the pods of a namespace reach the store."""
    values = {"WINDLASS_STORE_URL": store.url, **store.credentials}
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {"name": STORE_NAME, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "windlass"}},
        # Not stringData: the server keeps no track of who owns its fields, so one that is left out later would stay.
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }
