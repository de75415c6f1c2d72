"""One column as values that a transform takes: text of CSV read by its type, Parquet and JSON as they are.

CSV is read as the preparation of a Dataset reads it: an empty field is no value, and so are NA, N/A, NULL, null, None and NaN
in a column that is not text. The quick way reads what Arrow reads exactly as Python does; all else goes the careful way of
requests, which also says what is wrong.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windlass_core.raw_files import Format
from windlass_infer.batch.reading import Column
from windlass_infer.bodies.table import values_of_texts
from windlass_preprocess.values import ColumnValues

MISSING = pa.array(["na", "n/a", "null", "none", "nan"])
# Whole numbers as Arrow and Python both read them: Arrow also takes 0x10.
_WHOLE = r"^-?[0-9]{1,18}$"
_QUICK = {"int64": pa.int64(), "float64": pa.float64()}


def values_of(column: Column, name: str, kind: str, format_: Format) -> ColumnValues:
    """The values of a column of type `kind`.

    Raises:
        BadData: a text is none of that type; names row and column.
    """
    if isinstance(column, list):
        return column
    if format_ == "csv":
        return _of_text(column, name, kind)
    return of_arrow(column)


def of_arrow(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A column of Parquet as numpy has it: NaN and NaT for missing numbers and times, None for other missing values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    array: np.ndarray[Any, Any] = column.to_numpy()
    return array


def _of_text(column: pa.ChunkedArray, name: str, kind: str) -> ColumnValues:
    if kind == "string":
        return of_arrow(column)
    trimmed = pc.utf8_trim_whitespace(column)
    plain = pc.if_else(pc.is_in(pc.utf8_lower(trimmed), value_set=MISSING), pa.scalar(None, pa.string()), trimmed)
    if (type_ := _QUICK.get(kind)) is not None:
        whole = kind == "float64" or pc.all(pc.match_substring_regex(plain, _WHOLE)).as_py() is not False
        try:
            if whole:
                return of_arrow(plain.cast(type_))
        except pa.ArrowInvalid:
            pass  # the careful way reads it, or says which
    return values_of_texts(name, [text or "" for text in plain.to_pylist()], kind)
