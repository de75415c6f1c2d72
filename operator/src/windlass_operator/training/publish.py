"""The steps by which a finished run adds its version to a Model and moves an alias, one write at a time. Pure.

Each step looks at the Model as it is and gives the one write that is still missing, so that a crash between any two of them
changes nothing in the end. An alias is moved by a run only to a version that services can load (promotion.py), and that is
newer than any that a run moved it to before (noted in an annotation by the same write), so a step that is done again never
undoes a later promotion or a rollback by hand.

A Model lists so many versions and no more: the newest, and those that an alias stands for. One that comes when there is no room
for it is not listed, so that no service could find it: then nothing is written at all.
"""

from windlass_core.contracts import ModelResult
from windlass_core.resources import API_GROUP, ModelSpec, ModelStatus, TrainingJobSpec
from windlass_core.resources.model import Alias, ModelVersion, OmittedFormat
from windlass_operator.api import MODEL, Manifest
from windlass_operator.plan import Action, Create, Parent, Patch
from windlass_operator.training import promotion

MAX_VERSIONS = 1000  # bound of status.versions in the CRD
PUBLISHED_PREFIX = f"{API_GROUP}/published-"


def next_step(
    job: Parent, spec: TrainingJobSpec, dataset_version: int, result: ModelResult, model: Manifest | None
) -> Action | None:
    """The next write that publishing needs, or None when all is done.

    Args:
        dataset_version: the version of the Dataset that the run learned from.
        model: the Model as it is, None when there is none.
    """
    if model is None:
        return Create(MODEL, _empty_model(job, spec))
    seen = Parent.read(MODEL, model)
    entry = _entry(job, spec, dataset_version, result)
    versions = ModelStatus.model_validate(seen.status).versions
    if not _has_room(seen, entry.version):
        return None
    if entry not in versions:
        others = [known for known in versions if known.version != entry.version]
        numbers = _listed(seen, entry.version)
        newest_first = sorted([entry, *others], key=lambda known: -known.version)
        listed = {"status": {"versions": [known.to_json() for known in newest_first if known.version in numbers]}}
        return _locked(seen, listed, subresource="status")
    alias = spec.publish.alias
    if alias and not hindrance(result, model) and newest_by_runs(model, alias) < entry.version:
        return _locked(seen, _move(seen, alias, entry.version))
    return None


def hindrance(result: ModelResult, model: Manifest | None) -> OmittedFormat | None:
    """Why no alias of this Model may be moved to the version, or None if it may."""
    version = result.version.version
    if model is not None and not _has_room(Parent.read(MODEL, model), version):
        return promotion.not_listed(version)
    return promotion.hindrance(result.formats, result.omitted)


def newest_by_runs(model: Manifest, alias: str) -> int:
    """The newest version that a run moved this alias to; 0 before the first."""
    text = Parent.read(MODEL, model).annotations.get(PUBLISHED_PREFIX + alias, "")
    return int(text) if text.isdecimal() else 0


def _has_room(model: Parent, version: int) -> bool:
    return version in _listed(model, version)


def _listed(model: Parent, version: int) -> frozenset[int]:
    """The numbers of the versions that the Model lists once this one is there, as far as there is room for it."""
    aliased = {alias.version for alias in ModelSpec.model_validate(model.spec).aliases}
    numbers = {version, *(known.version for known in ModelStatus.model_validate(model.status).versions)}
    by_worth = sorted(numbers, key=lambda number: (number in aliased, number), reverse=True)
    return frozenset(by_worth[:MAX_VERSIONS])


def _empty_model(job: Parent, spec: TrainingJobSpec) -> Manifest:
    """A Model that nobody owns: it outlives the runs that fill it."""
    return {
        "apiVersion": MODEL.api_version,
        "kind": MODEL.name,
        "metadata": {"name": spec.model.name, "namespace": job.namespace},
        "spec": {},
    }


def _entry(job: Parent, spec: TrainingJobSpec, dataset_version: int, result: ModelResult) -> ModelVersion:
    return ModelVersion(
        version=result.version.version,
        uri=result.version.uri,
        digest=result.version.digest,
        bytes=result.bytes,
        formats=result.formats,
        omitted=result.omitted or None,
        metrics=metric_texts(result.metrics),
        job=job.name,
        job_uid=job.uid,
        dataset=spec.dataset.name,
        dataset_version=dataset_version,
        created_at=result.created_at.replace(microsecond=0),
    )


def metric_texts(metrics: dict[str, float]) -> dict[str, str]:
    """Figures as people read them; Kubernetes objects hold no floating-point numbers."""
    return {name: f"{value:.4g}" for name, value in sorted(metrics.items())}


def _move(model: Parent, alias: str, version: int) -> Manifest:
    aliases = ModelSpec.model_validate(model.spec).aliases
    moved = Alias(name=alias, version=version)
    known = any(one.name == alias for one in aliases)
    after = [moved if one.name == alias else one for one in aliases] if known else [*aliases, moved]
    return {
        "metadata": {"annotations": {PUBLISHED_PREFIX + alias: str(version)}},
        "spec": {"aliases": [one.to_json() for one in after]},
    }


def _locked(model: Parent, patch: Manifest, subresource: str | None = None) -> Patch:
    """A change that is refused when somebody has changed the Model since it was read."""
    return Patch(MODEL, model.namespace, model.name, patch, resource_version=model.resource_version, subresource=subresource)
