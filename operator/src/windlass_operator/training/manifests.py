"""The headless Service and the Indexed Job of one try of a run. Pure."""

from windlass_core.contracts import RENDEZVOUS_PORT, TrainRun, VersionReference
from windlass_core.resources import API_GROUP, TrainingJobSpec
from windlass_operator import manifests
from windlass_operator.api import SERVICE, Manifest
from windlass_operator.compare import stamped
from windlass_operator.manifests import Requests
from windlass_operator.plan import Parent
from windlass_operator.settings import Settings

COMPONENT = "train"
CONTAINER = "trainer"
ATTEMPT_LABEL = f"{API_GROUP}/attempt"
# A worker with the CUDA build of torch holds about 950 MB before it has seen any data.
DEFAULT_REQUESTS = Requests(cpu="250m", memory="1Gi")
# For a worker that is asked to stop: it finishes an update, agrees with the others, and saves.
GRACE_SECONDS = 120


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
    return stamped(manifests.child(parent, SERVICE, service_name(parent), COMPONENT, spec))


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
    box = manifests.container(
        CONTAINER,
        settings.images.train,
        settings.images,
        argument="run",
        run_spec=run.to_json_text(),
        needs=manifests.resources(spec.resources, DEFAULT_REQUESTS),
        environment=[
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "OMP_NUM_THREADS", "value": str(manifests.threads(spec.resources.cpu))},
            # torch 2.13 otherwise reads addresses of workers that are gone after a restart (pytorch/pytorch#167288).
            {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"},
        ],
    )
    pod = {
        "restartPolicy": "Never",  # a failed worker is a new pod, perhaps on another node
        "subdomain": service_name(parent),
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "tolerations": manifests.dead_node_tolerations(),
    }
    job_spec = {
        "completionMode": "Indexed",
        "completions": spec.workers,
        "parallelism": spec.workers,
        # One fault can fail every worker, so the limit is for each index: a fault costs each of them one restart at the most.
        "backoffLimitPerIndex": spec.restarts.max,
        "maxFailedIndexes": 0,  # one worker that is given up is the end of the group
        "podReplacementPolicy": "Failed",  # never two pods with one index
        "podFailurePolicy": {"rules": [*manifests.disruption_rules(CONTAINER), manifests.bad_device_rule(CONTAINER)]},
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "template": manifests.pod_template(parent, COMPONENT, settings, box, pod),
        **({"activeDeadlineSeconds": deadline_seconds} if deadline_seconds is not None else {}),
    }
    return manifests.job(parent, name, COMPONENT, job_spec, {ATTEMPT_LABEL: str(attempt)})
