"""Which rows are held out: exact shares, each class in proportion, the same for the same seed and data on any machine.

Rows are ordered by class and, within a class, by a hash of seed and row number. Of N rows in that order every N/n-th is held
out, so that n rows in all and the same share of every class (but for rounding) are. The first row of each class is never among
them: no class is without rows to learn from. MD5 is used because its value is the same in every release of DuckDB.
"""

from dataclasses import dataclass

from windlass_core.errors import BadData
from windlass_core.resources.dataset import Split
from windlass_preprocess.columns import DATA, TableColumn
from windlass_preprocess.database import Database

SPLIT = "split"
TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True)
class Counts:
    """Rows of each split."""

    train: int
    validation: int
    test: int


def assign(database: Database, split: Split, *, rows: int, stratify: TableColumn | None) -> Counts:
    """Make the table `split` with one column `split`, row by row beside `data`.

    Args:
        database: holds `data`.
        split: the shares and the seed.
        rows: of `data`.
        stratify: the label, when it names classes.

    Raises:
        BadData: there are too few rows for the shares; its reason is TooFewRows.
    """
    by = stratify.sql if stratify is not None else "0"  # without classes all rows are of one
    (classes,) = database.row(f"SELECT count(DISTINCT {by}) FROM {DATA}")
    counts = _counts(split, rows, classes)
    database.run(_statement(split.seed, counts, eligible=rows - classes, by=by))
    return counts


def part(which: int, columns: str) -> str:
    """A query for columns of the rows of one split, in order."""
    return f"SELECT {columns} FROM {DATA} POSITIONAL JOIN {SPLIT} WHERE {SPLIT}.split = {which}"


def _counts(split: Split, rows: int, classes: int) -> Counts:
    test, validation = round(rows * split.test), round(rows * split.validation)
    for name, share, count in (("test", split.test, test), ("validation", split.validation, validation)):
        if share > 0 and count == 0:
            raise BadData(
                f"spec.split.{name} of {share} leaves no row out of {rows}; add rows, raise the share, or set it to 0",
                reason="TooFewRows",
            )
    train = rows - test - validation
    if train < classes:
        raise BadData(
            f"{rows} rows leave {train} for training, which does not do for {_classes(classes)}; add rows or lower spec.split",
            reason="TooFewRows",
        )
    return Counts(train, validation, test)


def _classes(count: int) -> str:
    return f"{count} classes" if count > 1 else "a model"


def _statement(seed: int, counts: Counts, *, eligible: int, by: str) -> str:
    # Places count from 0 without the first row of each class.
    held_out = _every(eligible, counts.test, "place")
    # Places without the rows for testing: as many of those are before a place as `_every` has chosen until there.
    remaining = f"(place - place * {counts.test}::HUGEINT // {max(eligible, 1)})"
    validating = _every(eligible - counts.test, counts.validation, remaining)
    return f"""
        CREATE TABLE {SPLIT} AS
        WITH classes AS (
            SELECT class, row_number() OVER (ORDER BY class) AS number, sum(rows) OVER (ORDER BY class) - rows AS first
            FROM (SELECT {by} AS class, count(*) AS rows FROM {DATA} GROUP BY class)
        ), hashed AS (
            SELECT {DATA}.rowid AS row, number, first, md5_number_lower('{seed}:' || {DATA}.rowid) AS hash
            FROM {DATA} JOIN classes ON {by} = class
        ), ranked AS (
            SELECT row, number, first, row_number() OVER (ORDER BY number, hash, row) - 1 AS rank FROM hashed
        ), placed AS (
            SELECT row, rank = first AS is_first, rank - number AS place FROM ranked
        )
        SELECT CAST(CASE
            WHEN is_first THEN {TRAIN}
            WHEN {held_out} THEN {TEST}
            WHEN {validating} THEN {VALIDATION}
            ELSE {TRAIN}
        END AS TINYINT) AS split
        FROM placed ORDER BY row
    """


def _every(rows: int, chosen: int, place: str) -> str:
    """Whether the row at `place` is one of `chosen` out of `rows`, evenly spread; exact, in integers."""
    if chosen == 0:
        return "false"
    return f"(({place} + 1) * {chosen}::HUGEINT // {rows} > {place} * {chosen}::HUGEINT // {rows})"
