"""The Job that prepares one generation of a Dataset. Pure."""

from windlass_core.contracts import PreprocessRun
from windlass_core.resources import DatasetSpec
from windlass_operator import manifests, pod_template
from windlass_operator.api import Manifest
from windlass_operator.compare import digest
from windlass_operator.plan import Parent
from windlass_operator.pod_template import Program
from windlass_operator.settings import Settings

PROGRAM = Program(
    component="preprocess",
    container="preprocess",
    argument="run",
    cpu="250m",
    # DuckDB is given three quarters of what is above 256 MiB; with less than this it would spill all the time.
    memory="512Mi",
    # It has nothing to save when it is asked to stop, since a version is whole or absent.
    grace_seconds=30,
)
# Pods that a Job starts anew by itself, 10, 20 and 40 s apart: enough for a store that restarts.
RETRIES = 3
NAME_DIGEST_LENGTH = 8


def job_name(parent: Parent, spec: DatasetSpec, attempt: int) -> str:
    """Name of the Job: another spec, or another try, is another Job."""
    identity = [parent.uid, spec.to_json(), attempt]
    return f"dataset-{parent.name}-{digest(identity, NAME_DIGEST_LENGTH)}"


def job(parent: Parent, spec: DatasetSpec, attempt: int, settings: Settings) -> Manifest:
    """The Job of one try."""
    run = PreprocessRun(namespace=parent.namespace, name=parent.name, spec=spec)
    template = pod_template.pod_template(
        parent, PROGRAM, settings.images.preprocess, run, spec.resources, settings, spec={"restartPolicy": "Never"}
    )
    job_spec = {
        "backoffLimit": RETRIES,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": pod_template.disruption_rules(PROGRAM)},
        "template": template,
    }
    return manifests.job(parent, job_name(parent, spec, attempt), PROGRAM.component, job_spec, {})
