"""The headless Service and the Indexed Job of one try of a run. Pure."""

from windlass_core.contracts import RENDEZVOUS_PORT, TrainRun, VersionReference
from windlass_core.resources import API_GROUP, TrainingJobSpec
from windlass_operator import manifests, pod_template
from windlass_operator.api import SERVICE, Manifest
from windlass_operator.compare import stamped
from windlass_operator.plan import Parent
from windlass_operator.pod_template import Program
from windlass_operator.settings import Settings

PROGRAM = Program(
    component="train",
    container="trainer",
    argument="run",
    cpu="250m",
    # A worker with the CUDA build of torch holds about 950 MB before it has seen any data.
    memory="1Gi",
    # A worker that is asked to stop finishes an update, agrees with the others, and saves.
    grace_seconds=120,
)
ATTEMPT_LABEL = f"{API_GROUP}/attempt"


def service_name(parent: Parent) -> str:
    """Name of the headless Service under which the workers find one another."""
    return f"train-{parent.name}"


def job_name(parent: Parent, attempt: int) -> str:
    """Name of the Job of one try; workers of different tries have different DNS names and never meet."""
    return f"train-{parent.name}-a{attempt}"


def service(parent: Parent) -> Manifest:
    """DNS names for the workers, ready or not: they meet before they are ready."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {manifests.parent_label(parent): parent.name, manifests.UID_LABEL: parent.uid},
        "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"}],
    }
    return stamped(manifests.child(parent, SERVICE, service_name(parent), PROGRAM.component, spec))


def job(
    parent: Parent,
    spec: TrainingJobSpec,
    dataset: VersionReference,
    attempt: int,
    deadline_seconds: int | None,
    settings: Settings,
) -> Manifest:
    """The Job of one try.

    Args:
        dataset: the version that the run learns from, with its digest.
        deadline_seconds: seconds that are left of the run's deadline, if it has one.
    """
    name = job_name(parent, attempt)
    run = TrainRun(
        namespace=parent.namespace,
        name=parent.name,
        uid=parent.uid,
        dataset=dataset,
        spec=spec,
        rendezvous_host=f"{name}-0.{service_name(parent)}.{parent.namespace}.svc",
        attempt=attempt,
    )
    template = pod_template.pod_template(
        parent,
        PROGRAM,
        settings.images.train,
        run,
        spec.resources,
        settings,
        environment=[
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "OMP_NUM_THREADS", "value": str(pod_template.whole_cores(spec.resources.cpu))},
            # torch 2.13 otherwise reads addresses of workers that are gone after a restart (pytorch/pytorch#167288).
            {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"},
        ],
        spec={
            "restartPolicy": "Never",  # a failed worker is a new pod, perhaps on another node
            "subdomain": service_name(parent),
            "tolerations": pod_template.dead_node_tolerations(),
        },
    )
    job_spec = {
        "completionMode": "Indexed",
        "completions": spec.workers,
        "parallelism": spec.workers,
        # One fault can fail every worker, so the limit is for each index: a fault costs each of them one restart at the most.
        "backoffLimitPerIndex": spec.restarts.max,
        "maxFailedIndexes": 0,  # one worker that is given up is the end of the group
        "podReplacementPolicy": "Failed",  # never two pods with one index
        "podFailurePolicy": {"rules": [*pod_template.disruption_rules(PROGRAM), pod_template.bad_device_rule(PROGRAM)]},
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "template": template,
        **({"activeDeadlineSeconds": deadline_seconds} if deadline_seconds is not None else {}),
    }
    return manifests.job(parent, name, PROGRAM.component, job_spec, {ATTEMPT_LABEL: str(attempt)})
