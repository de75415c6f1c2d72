"""What the steps of a spec mean for the columns of the data: which are dropped, and how each of the others is treated. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from windlass_core.errors import BadConfiguration
from windlass_core.resources.dataset import Step
from windlass_preprocess.columns import TableColumn
from windlass_preprocess.values import ColumnKind, listed

_NUMERIC: frozenset[ColumnKind] = frozenset({"int64", "float64", "date", "timestamp"})
_SCALABLE: frozenset[ColumnKind] = frozenset({*_NUMERIC, "bool"})
_ENCODABLE: frozenset[ColumnKind] = frozenset({"string", "int64", "bool"})


@dataclass(frozen=True)
class Scaled:
    """The column is a number."""

    method: Literal["standard", "minMax", "none"]


@dataclass(frozen=True)
class Encoded:
    """The column is a category."""

    method: Literal["oneHot", "ordinal"]
    unknown: Literal["error", "ignore"]


Treatment = Scaled | Encoded


def dropped(steps: Sequence[Step], names: Sequence[str], label: str | None) -> frozenset[str]:
    """Names of the columns that the steps leave out.

    Raises:
        BadConfiguration: a step names the label, or a column that is not there (reason ColumnNotFound) or not there any more.
    """
    left = list(names)
    gone: dict[str, int] = {}
    for number, step in enumerate(steps):
        for name in _named(step):
            if name == label:
                raise BadConfiguration(
                    f"spec.steps[{number}] names '{name}', which is the label; labels are prepared by spec.task"
                )
            if name in gone:
                raise BadConfiguration(f"spec.steps[{number}] names column '{name}', which spec.steps[{gone[name]}] drops")
            if name not in left:
                sentence = f"spec.steps[{number}] names column '{name}', which the data does not have; it has: {listed(names)}"
                raise BadConfiguration(sentence, reason="ColumnNotFound")
        if step.drop:
            gone |= dict.fromkeys(step.drop.columns, number)
            left = [name for name in left if name not in gone]
    return frozenset(gone)


def named_categories(steps: Sequence[Step]) -> frozenset[str]:
    """Names of the columns that some step encodes by name."""
    return frozenset(name for step in steps if step.encode for name in step.encode.columns or ())


def treatments(steps: Sequence[Step], columns: Sequence[TableColumn]) -> dict[str, Treatment]:
    """How each feature column is treated, by name; a later step wins.

    Args:
        steps: of the spec; their names were checked by `dropped`.
        columns: of the data, without the label.

    Raises:
        BadConfiguration: a step names a column of a type that it cannot treat.
    """
    chosen = {column.name: _default(column.kind) for column in columns}
    kinds = {column.name: column.kind for column in columns}
    for number, step in enumerate(steps):
        if step.scale:
            every = [name for name, treatment in chosen.items() if isinstance(treatment, Scaled) and kinds[name] in _NUMERIC]
            for name in step.scale.columns or every:
                _check_kind(number, "scale", name, kinds[name], _SCALABLE)
                chosen[name] = Scaled(step.scale.method)
        if step.encode:
            every = [name for name, treatment in chosen.items() if isinstance(treatment, Encoded)]
            for name in step.encode.columns or every:
                _check_kind(number, "encode", name, kinds[name], _ENCODABLE)
                chosen[name] = Encoded(step.encode.method, step.encode.unknown)
    return chosen


def _default(kind: ColumnKind) -> Treatment:
    match kind:
        case "string":
            return Encoded("oneHot", "error")
        case "bool":
            return Scaled("none")
        case _:
            return Scaled("standard")


def _check_kind(number: int, verb: str, name: str, kind: ColumnKind, accepted: frozenset[ColumnKind]) -> None:
    if kind not in accepted:
        raise BadConfiguration(
            f"spec.steps[{number}] cannot {verb} column '{name}', which is of type {kind}; "
            f"it takes {', '.join(sorted(accepted))}"
        )


def _named(step: Step) -> Sequence[str]:
    given = step.drop or step.scale or step.encode
    return (given.columns if given else None) or ()
