"""Columns to the inputs of a tensor version.

    by_input    a column for each input, of its name: numbers for an input of shape [rows], else lists of them, nested as the
                input's shape says or flat; text for BYTES
    matrix      several columns of numbers, in the order that the spec names, as the only input of shape [rows, columns]

From CSV only numbers and text can come. No value is refused: a tensor has no way to say it. Knows no files and no engine.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from windlass_core.errors import BadConfiguration, BadData
from windlass_core.raw_files import Format
from windlass_infer.batch.columns import of_arrow, values_of
from windlass_infer.batch.reading import Column, Columns
from windlass_infer.datatypes import BOOL, BYTES, DATATYPES, Tensor
from windlass_infer.engine import Arrays, TensorSignature
from windlass_infer.predictor import Predictor

Array = np.ndarray[Any, Any]


def by_input(predictor: Predictor, format_: Format) -> Callable[[Columns], Arrays]:
    """Encodes a column for each input. Raises BadConfiguration for CSV and an input that takes lists."""
    if format_ == "csv" and (lists := [one for one in predictor.inputs if len(one.shape) > 1]):
        raise BadConfiguration(
            f"input {lists[0]} takes lists, which CSV has not: give it by Parquet or JSON lines, or name the columns that make "
            "it up as `columns`"
        )
    if format_ == "json":
        return lambda columns: predictor.arrays_of_rows(_instances(predictor, columns))
    return lambda columns: predictor.arrays_of_tensors([_tensor(one, columns[one.name], format_) for one in predictor.inputs])


def matrix(predictor: Predictor, format_: Format, names: Sequence[str]) -> Callable[[Columns], Arrays]:
    """Encodes columns as the only input. Raises BadConfiguration when that has another shape."""
    signature = predictor.only_input
    if signature is None or len(signature.shape) != 2 or signature.shape[1] not in (-1, len(names)):
        takes = ", ".join(map(str, predictor.inputs))
        raise BadConfiguration(f"`columns` names {len(names)} columns, but the version takes {takes}")
    dtype = _dtype(signature)

    def encode(columns: Columns) -> Arrays:
        values = [_numbers(name, columns[name], signature, format_) for name in names]
        return predictor.arrays_of_tensors([Tensor(signature.name, signature.datatype, np.stack(values, axis=1).astype(dtype))])

    return encode


def _instances(predictor: Predictor, columns: Columns) -> list[Any]:
    names = [signature.name for signature in predictor.inputs]
    if len(names) == 1:
        return list(columns[names[0]])
    return [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]


def _tensor(signature: TensorSignature, column: Column, format_: Format) -> Tensor:
    assert not isinstance(column, list)  # noqa: S101  # JSON goes another way
    if len(signature.shape) == 1 and not _is_list(column.type):
        return Tensor(signature.name, signature.datatype, _numbers(signature.name, column, signature, format_))
    flat, shape = _unnested(signature.name, column)
    fixed = signature.shape[1:]
    if len(shape) == 2 and len(fixed) > 1 and -1 not in fixed and shape[1] == np.prod(fixed):
        shape = (shape[0], *fixed)
    return Tensor(signature.name, signature.datatype, _numbers(signature.name, flat, signature, format_).reshape(shape))


def _numbers(name: str, column: Column, signature: TensorSignature, format_: Format) -> Array:
    """Values of an input's datatype, none of them missing."""
    values = np.asarray(values_of(column, name, _kind(signature), format_) if format_ != "parquet" else _present(name, column))
    missing = [value is None for value in values] if values.dtype == object else np.zeros(0, bool)
    if np.any(missing) or (format_ != "parquet" and values.dtype.kind == "f" and np.isnan(values).any()):
        row = int(np.flatnonzero(missing if values.dtype == object else np.isnan(values))[0])
        raise BadData(f"row {row} (counted from 0), column '{name}': has no value")
    if signature.datatype == BYTES:
        return values.astype(object)
    dtype = _dtype(signature)
    with np.errstate(over="ignore", invalid="ignore"):
        converted: Array = values.astype(dtype) if values.dtype.kind in "biuf" else np.empty(0, dtype)
    if len(converted) != len(values) or (dtype.kind in "biu" and not (converted == values).all()):
        raise BadData(f"column '{name}': values of type {values.dtype} do not fit {signature.datatype}")
    return converted


def _present(name: str, column: Column) -> Array:
    assert not isinstance(column, list)  # noqa: S101  # of Parquet
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise BadData(f"row {row} (counted from 0), column '{name}': has no value")
    return of_arrow(column)


def _unnested(name: str, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, tuple[int, ...]]:
    """The numbers in lists of lists, and the shape that all rows have."""
    shape = [len(column)]
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no rows
        array = pa.concat_arrays(array.chunks)
    while _is_list(array.type):
        if array.null_count:
            raise BadData(f"column '{name}': has no value in a row or in a list")
        inner = array.flatten()
        size = len(inner) // len(array)
        if not pa.types.is_fixed_size_list(array.type) and (np.diff(array.offsets.to_numpy()) != size).any():
            raise BadData(f"column '{name}': lists of different lengths cannot be one tensor")
        shape.append(size)
        array = inner
    return pa.chunked_array([array]), tuple(shape)


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _kind(signature: TensorSignature) -> str:
    """The type of column that an input's datatype is, for text of CSV."""
    if signature.datatype in (BYTES, BOOL):
        return "string" if signature.datatype == BYTES else "bool"
    return "int64" if _dtype(signature).kind in "iu" else "float64"


def _dtype(signature: TensorSignature) -> np.dtype[Any]:
    return DATATYPES[signature.datatype].dtype or np.dtype(object)
