"""Which version of its Model an InferenceService serves. Pure."""

from dataclasses import dataclass

from windlass_core.contracts import VersionReference
from windlass_core.resources import ModelSpec, ModelStatus
from windlass_core.resources.inference_service import ServedModel
from windlass_operator.api import MODEL, Manifest
from windlass_operator.conditions import Verdict
from windlass_operator.plan import Parent


@dataclass(frozen=True)
class Resolved:
    """A version with its digest, and the formats of its program."""

    reference: VersionReference
    formats: tuple[str, ...]


def resolve(wanted: ServedModel, model: Manifest | None) -> Resolved | Verdict:
    """The version, or a verdict that names what the service waits for."""
    if model is None:
        message = f"Model {wanted.name} does not exist yet; the service starts by itself when it has a version."
        return Verdict("False", "WaitingForModel", message)
    seen = Parent.read(MODEL, model)
    number = wanted.version
    if number is None:
        aliases = {alias.name: alias.version for alias in ModelSpec.model_validate(seen.spec).aliases}
        if wanted.alias not in aliases:
            known = ", ".join(aliases) or "none yet"
            message = f"Model {wanted.name} has no alias {wanted.alias}; it has {known}."
            return Verdict("False", "WaitingForAlias", message)
        number = aliases[wanted.alias]
    versions = ModelStatus.model_validate(seen.status).versions
    found = next((version for version in versions if version.version == number), None)
    if found is None:
        known = ", ".join(str(version.version) for version in versions[:10]) or "none yet"
        return Verdict("False", "WaitingForVersion", f"Model {wanted.name} has no version {number}; it has {known}.")
    reference = VersionReference(name=wanted.name, version=found.version, uri=found.uri, digest=found.digest)
    return Resolved(reference, tuple(found.formats))
