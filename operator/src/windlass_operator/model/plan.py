"""Decides what the status of a Model says of its versions and aliases. Pure.

The versions themselves are added by the runs that made them (`training/publish.py`); here is read what stands in the spec, so
that every move of an alias, whoever made it, is noted once.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from windlass_core.resources import ModelSpec, ModelStatus
from windlass_core.resources.model import AliasMove
from windlass_operator import conditions
from windlass_operator.conditions import Verdict
from windlass_operator.plan import Context, Note, Parent, Plan
from windlass_operator.verdicts import invalid_spec

READY = "Ready"
HISTORY_LENGTH = 20  # bound of the list in the CRD


@dataclass(frozen=True)
class SeenModel:
    """A Model; it has no children."""

    parent: Parent


def plan_model(seen: SeenModel, context: Context) -> Plan:
    """The status that a Model should have."""
    parent = seen.parent
    if parent.deleting:
        return Plan()
    status = ModelStatus.model_validate(parent.status)
    try:
        spec = ModelSpec.model_validate(parent.spec)
    except ValidationError as error:
        return _settled(parent, status, invalid_spec(error), context, ())
    moves = _moves(spec, status, context)
    newest = max(status.versions, key=lambda version: version.version, default=None)
    after = status.model_copy(
        update={
            "latest_version": newest.version if newest else None,
            "latest_metrics": _line(newest.metrics) if newest and newest.metrics else None,
            "aliases": _line({alias.name: str(alias.version) for alias in spec.aliases}) or None,
            "history": [*moves, *status.history][:HISTORY_LENGTH],
        }
    )
    return _settled(parent, after, _verdict(spec, after), context, tuple(map(_note, moves)))


def _line(pairs: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs.items())


def _pairs(line: str | None) -> dict[str, int]:
    """The aliases as they were noted last."""
    pairs = (pair.partition("=") for pair in (line or "").split(", ") if pair)
    return {name: int(version) for name, _, version in pairs if version.isdecimal()}


def _moves(spec: ModelSpec, status: ModelStatus, context: Context) -> list[AliasMove]:
    before, now = _pairs(status.aliases), {alias.name: alias.version for alias in spec.aliases}
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [AliasMove(alias=name, version=now.get(name), previous=before.get(name), at=context.now) for name in changed]


def _note(move: AliasMove) -> Note:
    if move.version is None:
        return Note("AliasRemoved", f"Alias {move.alias}, which stood for version {move.previous}, was removed.")
    came = f" instead of version {move.previous}" if move.previous is not None else ""
    return Note("AliasMoved", f"Alias {move.alias} stands for version {move.version}{came}.")


def _verdict(spec: ModelSpec, status: ModelStatus) -> Verdict:
    known = {version.version for version in status.versions}
    dangling = [alias for alias in spec.aliases if alias.version not in known]
    if dangling:
        alias = dangling[0]
        have = ", ".join(map(str, sorted(known, reverse=True)[:10])) or "none yet"
        message = f"Alias {alias.name} stands for version {alias.version}, which does not exist; there is {have}."
        return Verdict("False", "AliasVersionNotFound", message, problem=True)
    if not known:
        return Verdict("False", "NoVersions", "No run has published a version of this Model yet.")
    return Verdict("True", "VersionsPublished", f"The newest version is {status.latest_version}.")


def _settled(parent: Parent, status: ModelStatus, verdict: Verdict, context: Context, notes: tuple[Note, ...]) -> Plan:
    after = status.model_copy(
        update={
            "observed_generation": parent.generation,
            "conditions": conditions.settle(status.conditions, {READY: verdict}, generation=parent.generation, now=context.now),
        }
    )
    return Plan(status=after.to_json(), notes=(*notes, *conditions.notes(status.conditions, READY, verdict)))
