"""The pod of one of our programs: restricted, without Kubernetes credentials, told what to do by one variable. Pure.

Knows what all programs have in common; what only one of them needs (probes, environment) its own `manifests.py` gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from windlass_core.contracts import RUN_PORT, RUN_SPEC_VARIABLE, InferServe, PreprocessRun, TrainRun
from windlass_core.resources.common import AcceleratedResources, ComputeResources
from windlass_operator.api import Manifest
from windlass_operator.compare import quantity
from windlass_operator.manifests import STORE_NAME, labels
from windlass_operator.plan import Parent
from windlass_operator.pods import BAD_DEVICE_EXIT_CODE, FINAL_EXIT_CODES, STOPPED_EXIT_CODE
from windlass_operator.settings import Settings

STORE_PATH = "/var/lib/windlass/store"
USER_ID = 65532  # of every image of ours
GPU_RESOURCE = "nvidia.com/gpu"
# What the kubelet takes from the end of a container: its message, or else the end of its log.
TERMINATION_POLICY = "FallbackToLogsOnError"
# A dead node's pods are given up after this many seconds instead of Kubernetes' 300: a run resumes from its checkpoint.
DEAD_NODE_SECONDS = 30


@dataclass(frozen=True)
class Program:
    """One of the programs that run in pods.

    Attributes:
        component: what it does, as its labels name it.
        container: name of its container.
        argument: the command of it that the pod runs.
        cpu: what a pod asks for when its object does not say: enough for small data, little enough for a laptop.
        memory: the same of memory.
        grace_seconds: from being asked to stop until being ended.
    """

    component: str
    container: str
    argument: str
    cpu: str
    memory: str
    grace_seconds: int


def pod_template(
    parent: Parent,
    program: Program,
    image: str,
    run: PreprocessRun | TrainRun | InferServe,
    asked: ComputeResources,
    settings: Settings,
    *,
    environment: Sequence[Manifest] = (),
    container: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Manifest:
    """A pod that passes the restricted Pod Security Standard.

    Args:
        run: what the program is told.
        asked: the resources that the object asks for.
        environment: variables of this program alone.
        container: fields of the container that only this program has, for example probes.
        spec: fields of the pod that only this program has, for example its restart policy.
    """
    box = _container(program, image, run, asked, settings)
    box = {**box, "env": [*box["env"], *environment], **(container or {})}
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if settings.store.mode == "volume":
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": STORE_NAME}})
    pull_secrets = [{"name": name} for name in settings.images.pull_secrets]
    return {
        "metadata": {
            "labels": labels(parent, program.component),
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(RUN_PORT)},
        },
        "spec": {
            **(spec or {}),
            "terminationGracePeriodSeconds": program.grace_seconds,
            # Process 1 of a namespace ignores the signals that it has no handler for: a pod deleted in its first second, before
            # the program listens to SIGTERM, would run on to the end of its grace period. So process 1 is the pod's own.
            "shareProcessNamespace": True,
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


def _container(
    program: Program, image: str, run: PreprocessRun | TrainRun | InferServe, asked: ComputeResources, settings: Settings
) -> Manifest:
    """The one container, allowed nothing that it does not need."""
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  (an emptyDir of the pod's own)
    if settings.store.mode == "volume":
        mounts.append({"name": "store", "mountPath": STORE_PATH})
    return {
        "name": program.container,
        "image": image,
        "imagePullPolicy": settings.images.pull_policy,
        "args": [program.argument],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
            {"name": "HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": RUN_SPEC_VARIABLE, "value": run.to_json_text()},
        ],
        "envFrom": [{"secretRef": {"name": STORE_NAME}}],
        "ports": [{"name": "http", "containerPort": RUN_PORT, "protocol": "TCP"}],
        "resources": _resources(asked, program),
        "terminationMessagePolicy": TERMINATION_POLICY,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _resources(asked: ComputeResources, program: Program) -> Manifest:
    """Requests and limits of a container.

    Memory is limited to what was asked for, so that a pod that needs more is told so; CPU is not limited, because waiting for
    it only slows a pod. GPUs are whole devices, for which Kubernetes wants limits.
    """
    requests = {"cpu": asked.cpu or program.cpu, "memory": asked.memory or program.memory}
    limits = {"memory": asked.memory} if asked.memory else {}
    gpu = asked.gpu if isinstance(asked, AcceleratedResources) else None
    if gpu:
        limits[GPU_RESOURCE] = str(gpu.count)
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def whole_cores(cpu: str | None) -> int:
    """The whole cores of a CPU request, at least one: how many threads, or processes of one thread, it is good for."""
    cores = quantity(cpu or "") or Fraction(1)
    return max(1, int(cores))


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


def disruption_rules(program: Program) -> list[Manifest]:
    """What a Job does when a pod fails; the first rule that matches counts, and a failure without a rule is tried again."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        _exit_rule("Ignore", program, [STOPPED_EXIT_CODE]),
        _exit_rule("FailJob", program, sorted(FINAL_EXIT_CODES)),
    ]


def bad_device_rule(program: Program) -> Manifest:
    """An index whose accelerator is broken is given up at once."""
    return _exit_rule("FailIndex", program, [BAD_DEVICE_EXIT_CODE])


def _exit_rule(action: str, program: Program, codes: list[int]) -> Manifest:
    return {"action": action, "onExitCodes": {"containerName": program.container, "operator": "In", "values": codes}}
