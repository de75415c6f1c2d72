"""Which version of its Dataset a run learns from. Pure."""

from windlass_core.resources import DatasetStatus
from windlass_core.resources.dataset import DatasetVersion
from windlass_core.resources.training_job import DatasetReference
from windlass_operator import conditions
from windlass_operator.api import DATASET, Manifest
from windlass_operator.conditions import Verdict
from windlass_operator.plan import Parent

WAITING = "WaitingForDataset"


def pin(wanted: DatasetReference, dataset: Manifest | None) -> DatasetVersion | Verdict:
    """The version with its digest, or a verdict that names what the run waits for.

    Without a number in the spec it is the version of the Dataset's current spec: a Dataset that was edited is waited for.
    """
    if dataset is None:
        message = f"Dataset {wanted.name} does not exist yet; the run starts by itself when it is there and ready."
        return Verdict("Unknown", WAITING, message)
    seen = Parent.read(DATASET, dataset)
    status = DatasetStatus.model_validate(seen.status)
    if wanted.version is not None:
        return _numbered(wanted.name, wanted.version, status)
    ready = conditions.find(status.conditions, "Ready")
    current = ready is not None and ready.observed_generation == seen.generation
    if ready and current and ready.status == "True" and status.version is not None and status.digest is not None:
        return DatasetVersion(version=status.version, digest=status.digest)
    because = f" ({ready.reason}): {ready.message}" if ready and current else "; it has just been made or edited."
    return Verdict("Unknown", WAITING, f"Dataset {wanted.name} is not ready{because}")


def _numbered(name: str, number: int, status: DatasetStatus) -> DatasetVersion | Verdict:
    found = next((version for version in status.versions if version.version == number), None)
    if found is not None:
        return found
    known = ", ".join(str(version.version) for version in status.versions[:10]) or "none yet"
    return Verdict("Unknown", WAITING, f"Dataset {name} has no version {number}; it has {known}.")
