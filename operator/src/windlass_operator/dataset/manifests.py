"""The Job that prepares one generation of a Dataset. Pure."""

from windlass_core.contracts import PreprocessRun
from windlass_core.resources import DatasetSpec
from windlass_operator import manifests
from windlass_operator.api import Manifest
from windlass_operator.compare import digest
from windlass_operator.manifests import Requests
from windlass_operator.plan import Parent
from windlass_operator.settings import Settings

COMPONENT = "preprocess"
CONTAINER = "preprocess"
# DuckDB is given three quarters of what is above 256 MiB; with less than this it would spill all the time.
DEFAULT_REQUESTS = Requests(cpu="250m", memory="512Mi")
# Pods that a Job starts anew by itself, 10, 20 and 40 s apart: enough for a store that restarts.
RETRIES = 3
# For a run that is asked to stop; it has nothing to save, since a version is whole or absent.
GRACE_SECONDS = 30
NAME_DIGEST_LENGTH = 8


def job_name(parent: Parent, spec: DatasetSpec, attempt: int) -> str:
    """Name of the Job: another spec, or another try, is another Job."""
    identity = [parent.uid, spec.to_json(), attempt]
    return f"dataset-{parent.name}-{digest(identity, NAME_DIGEST_LENGTH)}"


def job(parent: Parent, spec: DatasetSpec, attempt: int, settings: Settings) -> Manifest:
    """The Job of one try."""
    run = PreprocessRun(namespace=parent.namespace, name=parent.name, spec=spec)
    box = manifests.container(
        CONTAINER,
        settings.images.preprocess,
        settings.images,
        argument="run",
        run_spec=run.to_json_text(),
        needs=manifests.resources(spec.resources, DEFAULT_REQUESTS),
    )
    template = manifests.pod_template(
        parent, COMPONENT, settings, box, {"restartPolicy": "Never", "terminationGracePeriodSeconds": GRACE_SECONDS}
    )
    job_spec = {
        "backoffLimit": RETRIES,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": manifests.disruption_rules(CONTAINER)},
        "template": template,
    }
    return manifests.job(parent, job_name(parent, spec, attempt), COMPONENT, job_spec, {})
