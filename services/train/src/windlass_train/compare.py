"""How versions of a model differ: their figures side by side, and all that was set otherwise. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from windlass_core.manifests import ModelContent


class Row(BaseModel):
    """One figure or setting, with its value in each version; null where a version has none."""

    field: str
    values: list[Any]


class Comparison(BaseModel):
    """Versions beside one another; values stand in the order of `versions`."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    versions: list[int]
    metrics: list[Row]
    differences: list[Row]


def compare(contents: Mapping[int, ModelContent]) -> Comparison:
    """Set versions beside one another.

    Args:
        contents: what each version's manifest says, by number.
    """
    settings = [_settings(content) for content in contents.values()]
    rows = _rows(settings)
    return Comparison(
        versions=list(contents),
        metrics=_rows([content.metrics for content in contents.values()]),
        differences=[row for row in rows if any(value != row.values[0] for value in row.values)],
    )


def _settings(content: ModelContent) -> dict[str, Any]:
    """What a version was made of, as flat names such as spec.model.parameters.learningRate."""
    chosen = content.model_dump(
        mode="json", by_alias=True, include={"task", "dataset", "spec", "step", "parameters", "made_with"}
    )
    return dict(_flat("", chosen))


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [pair for name, inner in value.items() for pair in _flat(f"{prefix}.{name}" if prefix else name, inner)]


def _rows(columns: list[dict[str, Any]]) -> list[Row]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [Row(field=name, values=[column.get(name) for column in columns]) for name in names]
