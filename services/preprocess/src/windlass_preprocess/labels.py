"""What the label is: classes or a quantity. Checks that every row has one, and that there is something to learn."""

from dataclasses import dataclass
from typing import Literal

from windlass_core.errors import BadConfiguration, BadData
from windlass_core.resources.dataset import DatasetSpec
from windlass_preprocess.columns import DATA, TableColumn
from windlass_preprocess.database import Database
from windlass_preprocess.raw_table import RawTable
from windlass_preprocess.values import listed

# Integers are classes when there are at most this many, and each stands for at least two rows on average; otherwise they count
# something. Stated in the documentation of spec.task.
FEW_INTEGERS = 100
ROWS_PER_INTEGER_CLASS = 2
# A classifier has an output for each class; beyond this a label is more likely a name or an id.
MAX_CLASSES = 1000
_ROWS_SHOWN = 3


@dataclass(frozen=True)
class LabelColumn:
    """The label: its column, what it is, and the classes, sorted, when it names some."""

    column: TableColumn
    task: Literal["classification", "regression"]
    classes: tuple[bool | int | str, ...]


def check_label_name(spec: DatasetSpec, names: list[str]) -> None:
    """Raises BadData with reason LabelNotFound when the data has no column of the label's name."""
    if spec.label is None or spec.label in names:
        return
    hint = "; the first line looks like data: is the header line missing?" if all(map(_is_number, names)) else ""
    sentence = f"the data has no column '{spec.label}', which spec.label names; it has: {listed(names)}{hint}"
    raise BadData(sentence, reason="LabelNotFound")


def label_of(database: Database, spec: DatasetSpec, raw: RawTable, columns: tuple[TableColumn, ...]) -> LabelColumn | None:
    """The label of the table `data`, or None when the spec names none.

    Raises:
        BadData: rows have no label (reason LabelMissing), all have the same (OneClass), or there are too many classes
            (TooManyClasses).
        BadConfiguration: the spec's task does not go with the label's type.
    """
    if spec.label is None:
        return None
    column = next(column for column in columns if column.name == spec.label)
    _refuse_missing(database, raw, column)
    (distinct,) = database.row(f"SELECT count(DISTINCT {column.sql}) FROM {DATA}")
    if distinct == 1:
        ((only,),) = database.rows(f"SELECT {column.sql} FROM {DATA} LIMIT 1")
        raise BadData(f"the label '{column.name}' is {only} in every row, so there is nothing to learn", reason="OneClass")
    task = spec.task or _task_of(column, distinct, raw.rows)
    _check_task(task, column)
    if task == "regression":
        return LabelColumn(column, "regression", ())
    if distinct > MAX_CLASSES:
        raise BadData(
            f"the label '{column.name}' has {distinct:,} classes, more than {MAX_CLASSES:,}; name another column, or set "
            "spec.task to regression if it is a quantity",
            reason="TooManyClasses",
        )
    classes = tuple(sorted(value for (value,) in database.rows(f"SELECT DISTINCT {column.sql} FROM {DATA}")))
    return LabelColumn(column, "classification", classes)


def _task_of(column: TableColumn, distinct: int, rows: int) -> Literal["classification", "regression"]:
    few = distinct <= FEW_INTEGERS and distinct * ROWS_PER_INTEGER_CLASS <= rows
    return "classification" if column.kind in ("string", "bool") or (column.kind == "int64" and few) else "regression"


def _check_task(task: str, column: TableColumn) -> None:
    accepted = ("string", "int64", "bool") if task == "classification" else ("int64", "float64")
    if column.kind not in accepted:
        raise BadConfiguration(
            f"the label '{column.name}' is of type {column.kind}, which is no label for {task}; "
            f"that takes {', '.join(accepted)}"
        )


def _refuse_missing(database: Database, raw: RawTable, column: TableColumn) -> None:
    if not column.nullable:
        return
    (missing,) = database.row(f"SELECT count(*) FROM {DATA} WHERE {column.sql} IS NULL")
    shown = database.rows(f"SELECT rowid FROM {DATA} WHERE {column.sql} IS NULL ORDER BY rowid LIMIT {_ROWS_SHOWN}")
    places = "; ".join(raw.place(row) for (row,) in shown)
    more = " and others" if missing > len(shown) else ""
    sentence = f"the label '{column.name}' has no value in {missing:,} of {raw.rows:,} rows: {places}{more}"
    raise BadData(sentence, reason="LabelMissing")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
