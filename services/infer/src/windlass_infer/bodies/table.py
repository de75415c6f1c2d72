"""Rows as CSV: a header of column names, then one line a row, as spreadsheets and databases write them.

Pure. Which columns there are, and of which types, is told by the caller; the values become what JSON would have given, so that
the transform checks them alike. An empty field is no value. Format: RFC 4180, UTF-8 with or without a byte order mark; truth
values as `true` and `false`, dates and times as ISO 8601 writes them.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

from windlass_core.errors import BadData
from windlass_infer.datatypes import shown
from windlass_infer.errors import BadRequest

CSV_TYPE = "text/csv"

_TRUTH = {"true": True, "false": False}


def columns_of_csv(body: bytes, types: Mapping[str, str]) -> dict[str, list[Any]]:
    """The columns of a table, each a list of one value a row.

    Args:
        body: the table.
        types: the type of each column that the table must have, by its name.

    Raises:
        BadRequest: the body is no table, or its header is not that of the columns.
        BadData: a value is not of its column's type; names row and column.
    """
    rows = _rows(body)
    if not rows:
        raise BadRequest("the table is empty; its first line names the columns")
    header, *lines = rows
    _check_header(header, types)
    if not lines:
        raise BadRequest("the table has no row below its header")
    for number, line in enumerate(lines):
        if len(line) != len(header):
            raise BadRequest(f"row {number} (counted from 0) has {len(line)} fields, but the header has {len(header)}")
    by_name = dict(zip(header, zip(*lines, strict=True), strict=True))
    return {name: values_of_texts(name, by_name[name], kind) for name, kind in types.items()}


def _rows(body: bytes) -> list[list[str]]:
    try:
        text = body.decode("utf-8-sig")
        # A line without anything is none, as at the end of most files.
        return [row for row in csv.reader(StringIO(text, newline=""), strict=True) if row]
    except UnicodeDecodeError:
        raise BadRequest("the table is not UTF-8") from None
    except csv.Error as error:
        raise BadRequest(f"the body is no CSV table: {error}") from None


def _check_header(header: Sequence[str], types: Mapping[str, str]) -> None:
    if len(set(header)) < len(header):
        raise BadRequest("the header of the table names a column twice")
    if missing := [name for name in types if name not in header]:
        raise BadRequest(f"the header of the table lacks the column {shown(missing[0])}")
    if unknown := [name for name in header if name not in types]:
        raise BadRequest(f"the header of the table has the column {shown(unknown[0])}, which is none that this model takes")


def values_of_texts(name: str, fields: Sequence[str], kind: str) -> list[Any]:
    """The values of a column of type `kind`; an empty text is no value. Raises BadData, naming row and column."""
    convert = _CONVERSIONS[kind]
    values: list[Any] = []
    for number, field in enumerate(fields):
        try:
            values.append(convert(field) if field else None)
        except (ValueError, KeyError):
            raise BadData(f"row {number} (counted from 0), column '{name}': {shown(field)} is no {kind}") from None
    return values


def _integer(field: str) -> int:
    # Digits only: int() would also take underscores, and thousands of digits.
    digits = field.strip().removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        raise ValueError
    return int(field)


def _number(field: str) -> float:
    if "_" in field:
        raise ValueError
    return float(field)


_CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "int64": _integer,
    "float64": _number,
    "bool": lambda field: _TRUTH[field.strip().lower()],
    "string": str,
    "date": str,
    "timestamp": str,
}
