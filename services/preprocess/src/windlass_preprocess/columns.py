"""The raw table to the table `data`, in which every column has one of the six types of a Dataset.

CSV knows text alone, so the type of a CSV column is the narrowest that every value of it has: int64, float64, bool (true,
false), date, timestamp, else string. Empty fields are missing values, and so are NA, N/A, NULL, null, None and NaN in a column
that is not text. Knows no steps beyond what they keep and call categories.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from windlass_core.errors import BadData
from windlass_preprocess.database import Database, literal
from windlass_preprocess.reading import RAW, RawColumn, RawTable
from windlass_preprocess.values import ColumnKind

DATA = "data"

Item = TypeVar("Item")

# One query speaks of so many columns at most: with thousands DuckDB spends its time planning.
COLUMNS_AT_ONCE = 64
# A text column of which at least this share reads as numbers is a column of numbers with mistakes in it.
MOSTLY_NUMBERS = 0.95
# Features are computed in float32.
LARGEST_NUMBER = 3.4e38

_MISSING = ("NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan")
_MISSING_LIST = ", ".join(literal(text) for text in _MISSING)
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT"}
_SQL_TYPES: dict[ColumnKind, str] = {
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


# In the order in which they are tried, with their counts in `_counts`.
_OTHER_KINDS: tuple[tuple[ColumnKind, str], ...] = (("bool", "bools"), ("date", "dates"), ("timestamp", "timestamps"))


@dataclass(frozen=True)
class TableColumn:
    """A column of the table `data`: its name in the data, its name in SQL, its type, and whether values are missing."""

    name: str
    sql: str
    kind: ColumnKind
    nullable: bool


def make_typed(
    database: Database, raw: RawTable, *, drop: Collection[str], categories: Collection[str]
) -> tuple[TableColumn, ...]:
    """Make the table `data` from `raw`, which is dropped.

    Args:
        database: where both are.
        raw: what was read.
        drop: names of columns to leave out.
        categories: names of columns that may be text with numbers in it.

    Raises:
        BadData: a column has no values, values of no usable type, numbers that cannot be computed with, or text among numbers.
    """
    kept = [column for column in raw.columns if column.name not in drop]
    kinds = _kinds_of_text(database, raw, kept, categories) if raw.format == "csv" else [_kind_of(column) for column in kept]
    expressions = [_cast(column, kind) for column, kind in zip(kept, kinds, strict=True)]
    aliases = [f"c{number}" for number in range(len(kept))]
    _check_integers(database, raw, kept)
    selected = ", ".join(f"{expression} AS {alias}" for expression, alias in zip(expressions, aliases, strict=True))
    if not selected:
        raise BadData("every column is dropped")
    database.run(f"CREATE TABLE {DATA} AS SELECT {selected} FROM {RAW}")
    database.run(f"DROP TABLE {RAW}")
    columns = [
        TableColumn(column.name, alias, kind, nullable=False) for column, alias, kind in zip(kept, aliases, kinds, strict=True)
    ]
    return tuple(_checked(database, raw, columns))


def _kinds_of_text(
    database: Database, raw: RawTable, columns: Sequence[RawColumn], categories: Collection[str]
) -> list[ColumnKind]:
    kinds: list[ColumnKind] = []
    for group in groups(columns):
        counts = database.row(f"SELECT {', '.join(_counts(column) for column in group)} FROM {RAW}")
        for column, count in zip(group, counts, strict=True):
            kind = _narrowest(database, column, count)
            if kind == "string" and column.name not in categories:
                _refuse_mostly_numbers(database, raw, column, count)
            kinds.append(kind)
    return kinds


def _counts(column: RawColumn) -> str:
    """How many values of a text column read as each type, as one struct."""
    text = _trimmed(column)
    return (
        "{"
        f"'values': count({text}), "
        # '007' and '+7' are integers too, but rare: they are told apart from 7.5 by a second look.
        f"'integers': count(*) FILTER (TRY_CAST({text} AS BIGINT)::VARCHAR = {text}), "
        f"'numbers': count(*) FILTER ({_is_number(text)}), "
        f"'bools': count(*) FILTER (lower({text}) IN ('true', 'false')), "
        f"'dates': count(*) FILTER (length({text}) = 10 AND TRY_CAST({text} AS DATE) IS NOT NULL), "
        f"'timestamps': count(*) FILTER (length({text}) >= 16 AND TRY_CAST({text} AS TIMESTAMPTZ) IS NOT NULL)"
        "}"
    )


def _narrowest(database: Database, column: RawColumn, count: dict[str, int]) -> ColumnKind:
    values = count["values"]
    if values == 0:
        return "string"  # refused later, together with the columns of other formats that have no values
    if count["integers"] == values:
        return "int64"
    if count["numbers"] == values:
        return "int64" if _all_integers(database, column) else "float64"
    return next((kind for kind, counted in _OTHER_KINDS if count[counted] == values), "string")


def _all_integers(database: Database, column: RawColumn) -> bool:
    text = _trimmed(column)
    integer = f"regexp_full_match({text}, '[+-]?[0-9]+') AND TRY_CAST({text} AS BIGINT) IS NOT NULL"
    (all_are,) = database.row(f"SELECT bool_and({integer}) FROM {RAW}")
    return bool(all_are)


def _refuse_mostly_numbers(database: Database, raw: RawTable, column: RawColumn, count: dict[str, int]) -> None:
    numbers, values = count["numbers"], count["values"]
    if numbers < MOSTLY_NUMBERS * values or numbers == 0:
        return
    text = _trimmed(column)
    row, value = database.row(
        f"SELECT rowid, {column.sql} FROM {RAW} WHERE {text} IS NOT NULL AND NOT coalesce({_is_number(text)}, false) "
        "ORDER BY rowid LIMIT 1"
    )
    raise BadData(
        f"{raw.place(row)}, column '{column.name}': '{value[:40]}' is no number, but {numbers:,} of the column's {values:,} "
        "values are; correct it, drop the column, or name the column in an encode step if its values are categories"
    )


def _is_number(text: str) -> str:
    # DuckDB reads 1_000 as a number; in data it is more often a name. Infinity is no number to compute with.
    return f"isfinite(TRY_CAST({text} AS DOUBLE)) AND NOT contains({text}, '_')"


def _trimmed(column: RawColumn) -> str:
    """A text column without spaces around its values, and without those that stand for no value."""
    return f"(CASE WHEN trim({column.sql}) NOT IN ('', {_MISSING_LIST}) THEN trim({column.sql}) END)"


def _kind_of(column: RawColumn) -> ColumnKind:
    type_ = column.type
    if type_ in _INTEGERS:
        return "int64"
    if type_ in ("FLOAT", "DOUBLE") or type_.startswith("DECIMAL"):
        return "float64"
    if type_ == "BOOLEAN":
        return "bool"
    if type_ in ("VARCHAR", "UUID") or type_.startswith("ENUM"):
        return "string"
    if type_ == "DATE":
        return "date"
    if type_.startswith("TIMESTAMP"):
        return "timestamp"
    what = "lists, objects, values of several types or no values" if type_ == "JSON" else f"values of type {type_}"
    raise BadData(
        f"column '{column.name}' holds {what}; a Dataset has numbers, text, booleans, dates and timestamps. "
        "Leave it out by a drop step",
        reason="UnsupportedColumn",
    )


def _cast(column: RawColumn, kind: ColumnKind) -> str:
    if kind == "string":
        return f"{column.sql}::VARCHAR"
    source = _trimmed(column) if column.type == "VARCHAR" else column.sql
    if kind == "timestamp" and (column.type == "VARCHAR" or "TZ" in column.type or "TIME ZONE" in column.type):
        return f"make_timestamp(epoch_us({source}::TIMESTAMPTZ))"  # of UTC
    if kind == "float64":
        return f"(CASE WHEN NOT isnan({source}::DOUBLE) THEN {source}::DOUBLE END)"
    return f"{source}::{_SQL_TYPES[kind]}"


def _check_integers(database: Database, raw: RawTable, columns: Sequence[RawColumn]) -> None:
    for column in columns:
        if column.type not in ("UBIGINT", "HUGEINT", "UHUGEINT"):
            continue
        beyond = database.rows(
            f"SELECT rowid, {column.sql} FROM {RAW} "
            f"WHERE {column.sql} IS NOT NULL AND TRY_CAST({column.sql} AS BIGINT) IS NULL ORDER BY rowid LIMIT 1"
        )
        for row, value in beyond:
            raise BadData(f"{raw.place(row)}, column '{column.name}': {value} is beyond the range of int64")


def _checked(database: Database, raw: RawTable, columns: Sequence[TableColumn]) -> Iterator[TableColumn]:
    """The columns with `nullable` set, none of them without values or with numbers that cannot be computed with."""
    for group in groups(columns):
        counts = database.row(f"SELECT {', '.join(f'count({column.sql})' for column in group)} FROM {DATA}")
        for column, count in zip(group, counts, strict=True):
            if count == 0:
                sentence = f"column '{column.name}' has no value in any row; leave it out by a drop step"
                raise BadData(sentence, reason="EmptyColumn")
            if column.kind == "float64":
                _refuse_too_large(database, raw, column)
            yield TableColumn(column.name, column.sql, column.kind, nullable=count < raw.rows)


def _refuse_too_large(database: Database, raw: RawTable, column: TableColumn) -> None:
    (largest,) = database.row(f"SELECT max(abs({column.sql})) FROM {DATA}")
    if largest <= LARGEST_NUMBER:
        return
    row, value = database.row(
        f"SELECT rowid, {column.sql} FROM {DATA} WHERE abs({column.sql}) > {LARGEST_NUMBER} ORDER BY rowid LIMIT 1"
    )
    raise BadData(f"{raw.place(row)}, column '{column.name}': {value} is too large to compute with")


def groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items, COLUMNS_AT_ONCE at a time."""
    remaining = iter(items)
    while group := list(islice(remaining, COLUMNS_AT_ONCE)):
        yield group
