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
    classes = 0
    if stratify is not None:
        (classes,) = database.row(f"SELECT count(DISTINCT {stratify.sql}) FROM {DATA}")
    counts = _counts(split, rows, classes)
    database.run(_statement(split.seed, counts, eligible=rows - classes, by=stratify.sql if stratify else "0"))
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
    if train < max(classes, 1):
        raise BadData(
            f"{rows} rows leave {train} for training, which does not do for {classes} classes; add rows or lower spec.split",
            reason="TooFewRows",
        )
    return Counts(train, validation, test)


def _statement(seed: int, counts: Counts, *, eligible: int, by: str) -> str:
    first = 1 if by != "0" else 0
    held_out = _every(eligible, counts.test, "place")
    # Places among the rows that are not for testing: as many are before a row as tests are not.
    remaining = f"(place - (place * {counts.test}::HUGEINT // {max(eligible, 1)}))"
    validating = _every(eligible - counts.test, counts.validation, remaining)
    return f"""
        CREATE TABLE {SPLIT} AS
        WITH hashed AS (
            SELECT rowid AS row, {by} AS class, md5_number_lower('{seed}:' || rowid) AS hash FROM {DATA}
        ), ranked AS (
            SELECT row, class, hash, row_number() OVER (PARTITION BY class ORDER BY hash, row) AS rank FROM hashed
        ), placed AS (
            SELECT row, row_number() OVER (ORDER BY class, hash, row) - 1 AS place FROM ranked WHERE rank > {first}
        )
        SELECT CAST(CASE
            WHEN place IS NULL THEN {TRAIN}
            WHEN {held_out} THEN {TEST}
            WHEN {validating} THEN {VALIDATION}
            ELSE {TRAIN}
        END AS TINYINT) AS split
        FROM hashed LEFT JOIN placed USING (row)
        ORDER BY row
    """


def _every(rows: int, chosen: int, place: str) -> str:
    """Whether the row at `place` is one of `chosen` out of `rows`, evenly spread; exact, in integers."""
    if chosen == 0:
        return "false"
    return f"(({place} + 1) * {chosen}::HUGEINT // {rows} > {place} * {chosen}::HUGEINT // {rows})"
