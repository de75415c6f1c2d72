"""What the columns of a Dataset version hold: the profile for people, and the statistics of the training split for fitting.

Sums of floating-point numbers run on one thread, so that the same data gives the same bits. Dates count as days and timestamps
as seconds since 1970-01-01, as in the transform; the ends of their histograms' bins do so too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from windlass_core.errors import BadData
from windlass_preprocess.columns import DATA, TableColumn, groups
from windlass_preprocess.database import Database
from windlass_preprocess.splitting import TRAIN, part
from windlass_preprocess.values import ColumnKind

PROFILE_FILE = "profile.json"
HISTOGRAM_BINS = 20
TOP_VALUES = 10
# Of a text among the top values, in characters.
VALUE_LENGTH = 100


class ProfileModel(BaseModel):
    """Base of everything in profile.json."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Bin(ProfileModel):
    """One bar of a histogram; the last one includes its upper end."""

    from_: float = Field(alias="from")
    to: float
    rows: int


class TopValue(ProfileModel):
    """One of the most frequent values of a column."""

    value: bool | int | str
    rows: int


class ColumnProfile(ProfileModel):
    """One column."""

    name: str
    type: ColumnKind
    missing: int = Field(description="Rows without a value.")
    distinct: int = Field(description="Different values, estimated to a few per cent when there are many.")
    minimum: float | str | None = Field(default=None, description="Smallest value; ISO 8601 for dates and timestamps.")
    maximum: float | str | None = Field(default=None, description="Largest value.")
    mean: float | None = Field(default=None, description="Of numbers; of booleans the share of true.")
    deviation: float | None = Field(default=None, description="Standard deviation, of numbers.")
    top: list[TopValue] = Field(default_factory=list, description="Most frequent values, of text, booleans and integers.")
    histogram: list[Bin] = Field(default_factory=list, description="Of numbers, in bins of equal width.")


class Profile(ProfileModel):
    """All columns, over the rows of all splits."""

    rows: int
    columns: list[ColumnProfile]


@dataclass(frozen=True)
class Moments:
    """Statistics of one column of numbers over the rows that have a value."""

    mean: float
    deviation: float
    minimum: float
    maximum: float


def number(column: TableColumn) -> str:
    """The column as a number in SQL, as `NumericFeature` counts it."""
    match column.kind:
        case "date":
            return f"({column.sql} - DATE '1970-01-01')"
        case "timestamp":
            return f"(epoch_us({column.sql}) / 1e6)"
        case "bool":
            return f"{column.sql}::TINYINT"
        case _:
            return column.sql


def training_moments(database: Database, columns: Sequence[TableColumn]) -> dict[str, Moments]:
    """Moments of columns of numbers over the training split, by name.

    Raises:
        BadData: a column has no value there.
    """
    found = _moments(database, columns, lambda expressions: part(TRAIN, expressions))
    for column in columns:
        if column.name not in found:
            sentence = f"column '{column.name}' has no value in any row of the training split; leave it out by a drop step"
            raise BadData(sentence, reason="EmptyColumn")
    return found


def categories_of(database: Database, column: TableColumn, *, at_most: int) -> tuple[Any, ...]:
    """All categories of a column, sorted.

    Of all splits: which categories there are is part of what the column is, and a row of the test split that held a category
    of its own could not be encoded at all.

    Raises:
        BadData: there are more than `at_most`; its reason is TooManyCategories.
    """
    found = database.rows(f"SELECT DISTINCT {column.sql} FROM {DATA} WHERE {column.sql} IS NOT NULL LIMIT {at_most + 1}")
    if len(found) > at_most:
        raise BadData(
            f"column '{column.name}' has more than {at_most:,} categories; leave it out by a drop step, or encode it as "
            "ordinal if there is an order in it",
            reason="TooManyCategories",
        )
    return tuple(sorted(value for (value,) in found))


def profile(database: Database, columns: Sequence[TableColumn], rows: int) -> Profile:
    """The profile of the table `data`."""
    numeric = [column for column in columns if column.kind != "string"]
    moments = _moments(database, numeric, lambda expressions: f"SELECT {expressions} FROM {DATA}")
    profiles = []
    for group in groups(columns):
        counted = database.row(
            f"SELECT {', '.join(f'[count({c.sql}), approx_count_distinct({c.sql})]' for c in group)} FROM {DATA}"
        )
        for column, (values, distinct) in zip(group, counted, strict=True):
            profiles.append(_column(database, column, rows - values, distinct, moments.get(column.name)))
    return Profile(rows=rows, columns=profiles)


def _column(database: Database, column: TableColumn, missing: int, distinct: int, moments: Moments | None) -> ColumnProfile:
    fields: dict[str, Any] = {}
    if moments is not None and column.kind != "bool":
        fields["histogram"] = _histogram(database, column, moments)
        fields["deviation"] = moments.deviation
    if moments is not None:
        fields["mean"] = moments.mean
    if column.kind in ("string", "bool") or (column.kind == "int64" and distinct <= HISTOGRAM_BINS):
        fields["top"] = _top(database, column)
    if column.kind != "bool":
        least, most = database.row(f"SELECT min({column.sql}), max({column.sql}) FROM {DATA}")
        fields |= {"minimum": _plain(least), "maximum": _plain(most)}
    return ColumnProfile(name=column.name, type=column.kind, missing=missing, distinct=distinct, **fields)


def _moments(database: Database, columns: Sequence[TableColumn], select: Any) -> dict[str, Moments]:
    found: dict[str, Moments] = {}
    with database.one_thread():
        for group in groups(columns):
            names = ", ".join(f"{number(column)} AS n{at}" for at, column in enumerate(group))
            wanted = ", ".join(
                f"[avg(n{at}), stddev_pop(n{at}), min(n{at})::DOUBLE, max(n{at})::DOUBLE]" for at in range(len(group))
            )
            results = database.row(f"SELECT {wanted} FROM ({select(names)})")
            for column, (mean, deviation, minimum, maximum) in zip(group, results, strict=True):
                if mean is not None:
                    found[column.name] = Moments(mean, deviation, minimum, maximum)
    return found


def _histogram(database: Database, column: TableColumn, moments: Moments) -> list[Bin]:
    low, width = moments.minimum, (moments.maximum - moments.minimum) / HISTOGRAM_BINS
    (values,) = database.row(f"SELECT count({column.sql}) FROM {DATA}")
    if not (width > 0 and math.isfinite(1 / width)):
        return [Bin.model_validate({"from": low, "to": moments.maximum, "rows": values})]
    bin_ = f"least(floor(({number(column)} - {low!r}::DOUBLE) / {width!r}::DOUBLE)::INTEGER, {HISTOGRAM_BINS - 1})"
    counted = dict(database.rows(f"SELECT {bin_} AS bin, count(*) FROM {DATA} WHERE {column.sql} IS NOT NULL GROUP BY bin"))
    return [
        Bin.model_validate({"from": low + at * width, "to": low + (at + 1) * width, "rows": counted.get(at, 0)})
        for at in range(HISTOGRAM_BINS)
    ]


def _top(database: Database, column: TableColumn) -> list[TopValue]:
    counted = database.rows(
        f"SELECT {column.sql} AS value, count(*) AS rows FROM {DATA} WHERE value IS NOT NULL "
        f"GROUP BY value ORDER BY rows DESC, value LIMIT {TOP_VALUES}"
    )
    return [TopValue(value=value[:VALUE_LENGTH] if isinstance(value, str) else value, rows=rows) for value, rows in counted]


def _plain(value: Any) -> float | str | None:
    if value is None or isinstance(value, int | float):
        return value
    return value[:VALUE_LENGTH] if isinstance(value, str) else str(value.isoformat())
