"""What the manifests of all children have in common: metadata, the restricted pod, the store's Secret. Pure."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from windlass_core.contracts import RUN_PORT
from windlass_core.resources import API_GROUP
from windlass_core.resources.common import AcceleratedResources, ComputeResources
from windlass_operator.api import FIELD_MANAGER, JOB, SECRET, Kind, Manifest
from windlass_operator.compare import quantity
from windlass_operator.plan import Parent
from windlass_operator.pods import BAD_DEVICE_EXIT_CODE, FINAL_EXIT_CODES, STOPPED_EXIT_CODE
from windlass_operator.settings import Images, Settings, StoreSettings

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER}"
STORE_NAME = "windlass-store"  # of the Secret, and of the volume claim in mode volume
STORE_PATH = "/var/lib/windlass/store"
USER_ID = 65532  # of every image of ours
GPU_RESOURCE = "nvidia.com/gpu"
# What the kubelet takes from the end of a container: its message, or else the end of its log.
TERMINATION_POLICY = "FallbackToLogsOnError"
# A dead node's pods are given up after this many seconds instead of Kubernetes' 300: a run resumes from its checkpoint.
DEAD_NODE_SECONDS = 30

# Kinds of parents, as the label on their pods names them.
PARENT_LABELS = {
    "Dataset": f"{API_GROUP}/dataset",
    "TrainingJob": f"{API_GROUP}/trainingjob",
    "InferenceService": f"{API_GROUP}/inferenceservice",
}
UID_LABEL = f"{API_GROUP}/uid"


@dataclass(frozen=True)
class Requests:
    """CPU and memory that a pod asks for when its object does not say: enough for small data, little enough for a laptop."""

    cpu: str
    memory: str


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


def resources(asked: ComputeResources, default: Requests) -> Manifest:
    """Requests and limits of a container.

    Memory is limited to what was asked for, so that a pod that needs more is told so; CPU is not limited, because waiting for
    it only slows a pod. GPUs are whole devices, for which Kubernetes wants limits.
    """
    requests = {"cpu": asked.cpu or default.cpu, "memory": asked.memory or default.memory}
    limits = {"memory": asked.memory} if asked.memory else {}
    gpu = asked.gpu if isinstance(asked, AcceleratedResources) else None
    if gpu:
        limits[GPU_RESOURCE] = str(gpu.count)
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def threads(cpu: str | None) -> int:
    """Threads that a CPU request is good for: its whole cores, at least one."""
    cores = quantity(cpu or "") or Fraction(1)
    return max(1, int(cores))


def container(
    name: str,
    image: str,
    images: Images,
    *,
    argument: str,
    run_spec: str,
    needs: Manifest,
    environment: Sequence[Manifest] = (),
) -> Manifest:
    """The one container of a pod of ours: told what to do by one variable, allowed nothing that it does not need."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": images.pull_policy,
        "args": [argument],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108  (an emptyDir of the pod's own)
            {"name": "HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WINDLASS_RUN_SPEC", "value": run_spec},
            *environment,
        ],
        "envFrom": [{"secretRef": {"name": STORE_NAME}}],
        "ports": [{"name": "http", "containerPort": RUN_PORT, "protocol": "TCP"}],
        "resources": needs,
        "terminationMessagePolicy": TERMINATION_POLICY,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def pod_template(parent: Parent, component: str, settings: Settings, box: Manifest, spec: Mapping[str, Any]) -> Manifest:
    """A pod that passes the restricted Pod Security Standard and holds no Kubernetes credentials.

    Args:
        box: its container.
        spec: what differs between kinds of pods: restart policy, grace period, names.
    """
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if settings.store.mode == "volume":
        box = {**box, "volumeMounts": [*box["volumeMounts"], {"name": "store", "mountPath": STORE_PATH}]}
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": STORE_NAME}})
    pull_secrets = [{"name": name} for name in settings.images.pull_secrets]
    return {
        "metadata": {
            "labels": labels(parent, component),
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(RUN_PORT)},
        },
        "spec": {
            **spec,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **({"imagePullSecrets": pull_secrets} if pull_secrets else {}),
            "containers": [box],
            "volumes": volumes,
        },
    }


def dead_node_tolerations() -> list[Manifest]:
    """Leave a node that answers no more soon, so that a run goes on elsewhere."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": DEAD_NODE_SECONDS,
        }
        for taint in ("not-ready", "unreachable")
    ]


def disruption_rules(container_name: str) -> list[Manifest]:
    """What a Job does when a pod fails; the first rule that matches counts, and a failure without a rule is tried again."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        _exit_rule("Ignore", container_name, [STOPPED_EXIT_CODE]),
        _exit_rule("FailJob", container_name, sorted(FINAL_EXIT_CODES)),
    ]


def bad_device_rule(container_name: str) -> Manifest:
    """An index whose accelerator is broken is given up at once."""
    return _exit_rule("FailIndex", container_name, [BAD_DEVICE_EXIT_CODE])


def _exit_rule(action: str, container_name: str, codes: list[int]) -> Manifest:
    return {"action": action, "onExitCodes": {"containerName": container_name, "operator": "In", "values": codes}}


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
