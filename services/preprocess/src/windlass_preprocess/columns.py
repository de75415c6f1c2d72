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
from windlass_preprocess.raw_table import RAW, RawColumn, RawTable
from windlass_preprocess.values import ColumnKind

DATA = "data"

Item = TypeVar("Item")

# One query speaks of so many columns at most: with thousands DuckDB spends its time planning.
COLUMNS_AT_ONCE = 64
# A text column of which at least this share reads as numbers is a column of numbers with mistakes in it.
MOSTLY_NUMBERS = 0.95
# Features are computed in float32.
LARGEST_NUMBER = 3.4e38
# What Python's dates, and so requests for predictions, can say.
FIRST_YEAR, LAST_YEAR = 1, 9999

# In lower case; what stands for no value in a CSV column that is not text.
_MISSING = ", ".join(literal(text) for text in ("", "na", "n/a", "null", "none", "nan"))
# What a value of a CSV column reads as, as bits, so that one aggregate tells all that stand in a column.
_INTEGER, _NUMBER, _BOOL, _DATE, _TIMESTAMP, _TEXT = 1, 2, 4, 8, 16, 32
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT"}
_SQL_TYPES: dict[ColumnKind, str] = {
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


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
        found = database.row(f"SELECT {', '.join(f'bit_or({_reads_as(column.sql)})' for column in group)} FROM {RAW}")
        for column, bits in zip(group, found, strict=True):
            kind = _narrowest(database, column, bits)
            if kind == "string" and bits & (_INTEGER | _NUMBER) and column.name not in categories:
                _refuse_mostly_numbers(database, raw, column)
            kinds.append(kind)
    return kinds


def _reads_as(value: str) -> str:
    """SQL for the bit of what a text reads as; 0 for no value. The frequent cases come first."""
    return (
        f"(CASE WHEN {value} IS NULL THEN 0 "
        # '007' and '+7' are integers too, but rare: `_narrowest` tells them from 7.5 by a second look.
        f"WHEN TRY_CAST({value} AS BIGINT)::VARCHAR = {value} THEN {_INTEGER} "
        f"WHEN {_is_number(value)} THEN {_NUMBER} "
        f"WHEN lower(trim({value})) IN ({_MISSING}) THEN 0 "
        f"WHEN lower(trim({value})) IN ('true', 'false') THEN {_BOOL} "
        f"WHEN length(trim({value})) = 10 AND TRY_CAST({value} AS DATE) IS NOT NULL THEN {_DATE} "
        f"WHEN length(trim({value})) >= 16 AND TRY_CAST({value} AS TIMESTAMPTZ) IS NOT NULL THEN {_TIMESTAMP} "
        f"ELSE {_TEXT} END)::UTINYINT"
    )


def _narrowest(database: Database, column: RawColumn, bits: int) -> ColumnKind:
    """The narrowest type of all values; string for a column without any, which is refused later as in other formats."""
    match bits:
        case 1:
            return "int64"
        case 2 | 3:
            return "int64" if _all_integers(database, column) else "float64"
        case 4:
            return "bool"
        case 8:
            return "date"
        case 16 | 24:
            return "timestamp"
        case _:
            return "string"


def _all_integers(database: Database, column: RawColumn) -> bool:
    integer = f"regexp_full_match(trim({column.sql}), '[+-]?[0-9]+') AND TRY_CAST({column.sql} AS BIGINT) IS NOT NULL"
    # LIMIT ends the search at the first that is none; mostly that is the first value.
    others = database.rows(f"SELECT 1 FROM {RAW} WHERE {_reads_as(column.sql)} = {_NUMBER} AND NOT ({integer}) LIMIT 1")
    return not others


def _refuse_mostly_numbers(database: Database, raw: RawTable, column: RawColumn) -> None:
    reads_as = _reads_as(column.sql)
    values, numbers = database.row(
        f"SELECT count(*) FILTER (bits > 0), count(*) FILTER (bits IN ({_INTEGER}, {_NUMBER})) "
        f"FROM (SELECT {reads_as} AS bits FROM {RAW})"
    )
    if numbers < MOSTLY_NUMBERS * values:
        return
    row, value = database.row(f"SELECT rowid, {column.sql} FROM {RAW} WHERE {reads_as} > {_NUMBER} ORDER BY rowid LIMIT 1")
    raise BadData(
        f"{raw.place(row)}, column '{column.name}': '{value[:40]}' is no number, but {numbers:,} of the column's {values:,} "
        "values are; correct it, drop the column, or name the column in an encode step if its values are categories"
    )


def _is_number(value: str) -> str:
    # DuckDB reads 1_000 as a number; in data it is more often a name. Infinity is no number to compute with.
    return f"isfinite(TRY_CAST({value} AS DOUBLE)) AND NOT contains({value}, '_')"


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
    """SQL for the column in its type. A text that does not read as it stands for no value, as `_kinds_of_text` has seen."""
    if kind == "string":
        return f"{column.sql}::VARCHAR"
    if kind == "timestamp" and (column.type == "VARCHAR" or "TZ" in column.type or "TIME ZONE" in column.type):
        return f"make_timestamp(epoch_us(TRY_CAST({column.sql} AS TIMESTAMPTZ)))"  # of UTC
    value = f"TRY_CAST({column.sql} AS {_SQL_TYPES[kind]})"
    return f"(CASE WHEN NOT isnan({value}) THEN {value} END)" if kind == "float64" else value


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
            _refuse_beyond(database, raw, column)
            yield TableColumn(column.name, column.sql, column.kind, nullable=count < raw.rows)


def _refuse_beyond(database: Database, raw: RawTable, column: TableColumn) -> None:
    """Refuse what later steps cannot compute with: numbers beyond float32, and years that Python's dates do not know."""
    match column.kind:
        case "float64":
            beyond, why = f"abs({column.sql}) > {LARGEST_NUMBER}", "is too large to compute with"
        case "date" | "timestamp":
            beyond = f"NOT (isfinite({column.sql}) AND year({column.sql}) BETWEEN {FIRST_YEAR} AND {LAST_YEAR})"
            why = f"is not between the years {FIRST_YEAR} and {LAST_YEAR}"
        case _:
            return
    found = database.rows(f"SELECT rowid, {column.sql}::VARCHAR FROM {DATA} WHERE {beyond} ORDER BY rowid LIMIT 1")
    for row, value in found:
        raise BadData(f"{raw.place(row)}, column '{column.name}': {value} {why}")


def groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items, COLUMNS_AT_ONCE at a time."""
    remaining = iter(items)
    while group := list(islice(remaining, COLUMNS_AT_ONCE)):
        yield group
