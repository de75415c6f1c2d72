"""Values of one column, checked and turned into numbers or codes; every complaint names row and column.

The types are those of a Dataset's columns. Arrays come from Parquet or from tensors, object arrays and sequences from JSON.
Rows count from 0. Knows no features and no scaling; needs numpy only.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from windlass_core.errors import BadData

ColumnKind = Literal["int64", "float64", "bool", "string", "date", "timestamp"]
Values = NDArray[Any]  # [rows]
ColumnValues = Values | Sequence[Any]

# The code of a value that is none of the categories.
NO_CATEGORY = -1
_UNKNOWN = -2
_INT64 = range(-(2**63), 2**63)
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
# Of names or categories, where a message lists them.
LISTED = 10
# Of a value that is shown in a message, in characters.
_SHOWN_LENGTH = 40
_SHOWN_BITS = 128

_EXPECTED: dict[ColumnKind, str] = {
    "int64": "an integer",
    "float64": "a number",
    "bool": "true or false",
    "string": "text",
    "date": "a date as text, for example 2026-01-31",
    "timestamp": "a timestamp as text, for example 2026-01-31T12:00:00Z",
}
_PYTHON_TYPES: dict[ColumnKind, set[type]] = {
    "int64": {int, float},  # JSON knows one kind of number; 3.0 is an integer, 3.5 is not
    "float64": {int, float},
    "bool": {bool},
    "string": {str},
    "date": {str, datetime.date},
    "timestamp": {str, datetime.datetime},
}
_ARRAY_KINDS: dict[ColumnKind, str] = {
    "int64": "iuf",
    "float64": "iuf",
    "bool": "b",
    "string": "U",
    "date": "MU",
    "timestamp": "MU",
}


def values_of(values: ColumnValues) -> Values:
    """An array of one dimension; a sequence becomes an object array, so that no value is converted unseen."""
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise BadData(f"a column must be an array of one dimension, not of shape {list(values.shape)}")
        return values
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise BadData(f"a column must be a list of values, not {type(values).__name__}")
    return np.fromiter(values, dtype=object, count=len(values))


def numbers_of(column: str, kind: ColumnKind, values: ColumnValues, *, nullable: bool) -> NDArray[np.float64]:
    """The values [rows] as float64: booleans 0 and 1, dates in days, timestamps in seconds since 1970 UTC; NaN where missing.

    Raises:
        BadData: a value is of another type, infinite, out of range, or missing and not nullable.
    """
    array = values_of(values)
    _check_array(column, kind, array)
    if array.dtype.kind == "M":
        numbers = _since_epoch(kind, array)
    elif array.dtype.kind in "OU":
        numbers = _from_python(column, kind, array.tolist())
    else:
        numbers = array.astype(np.float64)
    _refuse(column, np.isinf(numbers), array, kind, "infinity is no value to compute with")
    if kind == "int64":
        with np.errstate(invalid="ignore"):
            _refuse(column, (numbers != np.trunc(numbers)) & ~np.isnan(numbers), array, kind)
    if not nullable:
        _refuse(
            column,
            np.isnan(numbers),
            array,
            kind,
            f"has no value, and the data had one in every row; expected {_EXPECTED[kind]}",
        )
    return numbers


def codes_of(
    column: str, kind: ColumnKind, values: ColumnValues, index: Mapping[Any, int], *, nullable: bool, strict: bool
) -> NDArray[np.int64]:
    """The code of each value [rows] by `index`; NO_CATEGORY where it is missing, or unknown and not `strict`.

    Raises:
        BadData: a value is of another type, missing and not nullable, or unknown and `strict`.
    """
    array = values_of(values)
    _check_array(column, kind, array)
    items: list[Any] = array.tolist()
    if array.dtype.kind == "f":  # how Parquet readers give integers among which some are missing
        items = [None if item != item else item for item in items]
    elif array.dtype.kind == "O":
        _check_types(column, kind, items)
    codes = np.fromiter(map(index.get, items, repeat(_UNKNOWN)), dtype=np.int64, count=len(items))
    for row in np.flatnonzero(codes == _UNKNOWN).tolist():
        item = items[row]
        if item is None and not nullable:
            raise BadData(f"{place(row, column)}: has no value, and the data had one in every row; expected {_EXPECTED[kind]}")
        if item is not None and strict:
            raise BadData(f"{place(row, column)}: {_shown(item)} is not among those of the data: {listed(list(index))}")
    codes[codes == _UNKNOWN] = NO_CATEGORY
    return codes


def place(row: int, column: str) -> str:
    """Where a value stands, for messages."""
    return f"row {row} (counted from 0), column '{column}'"


def listed(names: Sequence[object]) -> str:
    """Names for a message; many are cut short."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(str(name) for name in names[:LISTED]) + more


def _check_array(column: str, kind: ColumnKind, array: Values) -> None:
    if array.dtype.kind != "O" and array.dtype.kind not in _ARRAY_KINDS[kind]:
        raise BadData(f"column '{column}': expected {_EXPECTED[kind]} in each row, but the array is of type {array.dtype}")


def _since_epoch(kind: ColumnKind, array: Values) -> NDArray[np.float64]:
    unit, per_unit = ("D", 1) if kind == "date" else ("us", 1_000_000)
    counted = array.astype(f"datetime64[{unit}]")
    return np.where(np.isnat(counted), np.nan, counted.astype(np.int64) / per_unit)


def _from_python(column: str, kind: ColumnKind, items: list[Any]) -> NDArray[np.float64]:
    _check_types(column, kind, items)
    if kind in ("date", "timestamp"):
        convert = _days if kind == "date" else _seconds
        return np.array(
            [np.nan if item is None else _parsed(column, kind, row, item, convert) for row, item in enumerate(items)]
        )
    if kind == "int64" and (beyond := [row for row, item in enumerate(items) if type(item) is int and item not in _INT64]):
        raise BadData(f"{place(beyond[0], column)}: {_shown(items[beyond[0]])} is beyond the range of int64")
    try:
        numbers = np.array([np.nan if item is None else item for item in items], dtype=np.float64)
    except OverflowError:
        numbers = np.array([np.nan if item is None else _clamped(item) for item in items])
    if nan := [row for row in np.flatnonzero(np.isnan(numbers)).tolist() if items[row] is not None]:
        raise BadData(f"{place(nan[0], column)}: NaN is no value to compute with; null stands for no value")
    return numbers


def _check_types(column: str, kind: ColumnKind, items: list[Any]) -> None:
    accepted = _PYTHON_TYPES[kind] | {type(None)}
    if set(map(type, items)) <= accepted:
        return
    row = next(row for row, item in enumerate(items) if type(item) not in accepted)
    raise BadData(f"{place(row, column)}: expected {_EXPECTED[kind]}, not {_shown(items[row])}")


def _parsed(column: str, kind: ColumnKind, row: int, item: Any, convert: Callable[[Any], float]) -> float:
    try:
        return convert(item)
    except (ValueError, OverflowError):
        raise BadData(f"{place(row, column)}: expected {_EXPECTED[kind]}, not {_shown(item)}") from None


def _days(item: str | datetime.date) -> float:
    day = datetime.date.fromisoformat(item) if isinstance(item, str) else item
    return float(day.toordinal() - _EPOCH_DAY)


def _seconds(item: str | datetime.datetime) -> float:
    moment = datetime.datetime.fromisoformat(item) if isinstance(item, str) else item
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _clamped(item: float) -> float:
    """The number as float64, infinite where it is beyond it."""
    try:
        return float(item)
    except OverflowError:
        return float("inf") if item > 0 else float("-inf")


def _refuse(column: str, wrong: NDArray[np.bool_], array: Values, kind: ColumnKind, why: str | None = None) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadData(f"{place(row, column)}: {why or f'expected {_EXPECTED[kind]}, not {_shown(array[row])}'}")


def _shown(item: Any) -> str:
    names = {None: "null", True: "true", False: "false"}
    if item is None or isinstance(item, bool):
        return names[item]
    # Python refuses to write out integers of thousands of digits.
    text = f"an integer of {item.bit_length()} bits" if isinstance(item, int) and item.bit_length() > _SHOWN_BITS else str(item)
    cut = text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"
    return f"'{cut}'" if isinstance(item, str) else cut
