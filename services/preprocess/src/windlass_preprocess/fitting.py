"""From statistics of the training split to a fitted transform. Pure: knows no database and no files."""

from collections.abc import Mapping, Sequence
from typing import Any

from windlass_core.errors import BadData
from windlass_preprocess.columns import TableColumn
from windlass_preprocess.labels import LabelColumn
from windlass_preprocess.profile import Moments
from windlass_preprocess.steps import Encoded, Scaled, Treatment
from windlass_preprocess.transform import CategoricalFeature, ClassLabel, NumericFeature, QuantityLabel, Transform

# A deviation or range of this share of the values' size is rounding, not data; dividing by it would make noise large.
RELATIVE_ROUNDING = 1e-12
# Numbers of one encoded row. More is a mistake in the spec, and rows of this many take 256 KiB each.
MAX_FEATURES = 65_536


def fit(
    columns: Sequence[TableColumn],
    treatments: Mapping[str, Treatment],
    moments: Mapping[str, Moments],
    categories: Mapping[str, tuple[Any, ...]],
    label: LabelColumn | None,
) -> Transform:
    """The transform of these columns.

    Args:
        columns: feature columns in order.
        treatments: of each column, by name.
        moments: of each column that is scaled, and of a label that is a quantity, over the training split.
        categories: of each column that is encoded.
        label: what is to be learned.

    Raises:
        BadData: no column is left, or they make too many features.
    """
    if not columns:
        raise BadData("no column is left to learn from")
    features = [_feature(column, treatments[column.name], moments, categories) for column in columns]
    transform = Transform(features=features, label=_label(label, moments))
    if transform.feature_count > MAX_FEATURES:
        widest = max(features, key=lambda feature: feature.width)
        raise BadData(
            f"the columns make {transform.feature_count:,} features, more than {MAX_FEATURES:,}; the most, {widest.width:,}, "
            f"come of column '{widest.column}': encode it as ordinal or leave it out"
        )
    return transform


def _feature(
    column: TableColumn, treatment: Treatment, moments: Mapping[str, Moments], categories: Mapping[str, tuple[Any, ...]]
) -> NumericFeature | CategoricalFeature:
    if isinstance(treatment, Encoded):
        return CategoricalFeature(
            column=column.name,
            type=column.kind,  # steps.py lets no others through
            categories=list(categories[column.name]),
            encoding=treatment.method,
            unknown=treatment.unknown,
            nullable=column.nullable,
        )
    found = moments[column.name]
    offset, scale = _scaling(treatment, found)
    return NumericFeature(
        column=column.name,
        type=column.kind,  # never text
        offset=offset,
        scale=scale,
        fill=found.mean if column.nullable else None,
    )


def _scaling(treatment: Scaled, moments: Moments) -> tuple[float, float]:
    match treatment.method:
        case "standard":
            return moments.mean, _divisor(moments.deviation, moments)
        case "minMax":
            return moments.minimum, _divisor(moments.maximum - moments.minimum, moments)
        case "none":
            return 0.0, 1.0


def _divisor(spread: float, moments: Moments) -> float:
    size = max(abs(moments.minimum), abs(moments.maximum))
    return spread if spread > size * RELATIVE_ROUNDING else 1.0


def _label(label: LabelColumn | None, moments: Mapping[str, Moments]) -> ClassLabel | QuantityLabel | None:
    if label is None:
        return None
    if label.task == "classification":
        return ClassLabel(column=label.column.name, type=label.column.kind, classes=list(label.classes))
    found = moments[label.column.name]
    return QuantityLabel(
        column=label.column.name,
        type=label.column.kind,  # labels.py lets no others through
        mean=found.mean,
        deviation=_divisor(found.deviation, found),
    )
