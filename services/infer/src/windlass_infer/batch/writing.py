"""The engine's answers for one partition to the bytes of a Parquet file; the same answers always give the same bytes.

A column for each output, named as in the Open Inference Protocol: `label` and `probabilities`, or `prediction`, or the outputs
of a tensor version. An output of more than one number a row is a list, nested as its shape says. Columns that are kept stand
before them: those of Parquet in their own type, those of CSV and JSON lines as text. What made the part stands in the file's
key-value metadata under METADATA_KEY. Knows no store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from windlass_core.errors import BadConfiguration, BadData
from windlass_infer.batch.encoding import located
from windlass_infer.batch.reading import Column, Columns, Place
from windlass_infer.datatypes import BOOL, BYTES, Tensor, texts
from windlass_infer.engine import Arrays
from windlass_infer.predictor import Predictor

METADATA_KEY = b"windlass"

_TYPES = {
    BOOL: pa.bool_(),
    BYTES: pa.string(),
    "BF16": pa.float32(),
    "FP16": pa.float16(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
}


@dataclass(frozen=True)
class Made:
    """What a part says of itself: the version and the engine that made it, and the rows that it is of."""

    model: str
    digest: str
    engine: str
    source: str
    place: Place

    def to_bytes(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Made":
        """What `to_bytes` gave. Raises ValueError, KeyError or TypeError for anything else."""
        fields = orjson.loads(data)
        return cls(**fields | {"place": Place(**fields["place"])})


def check_kept(predictor: Predictor, keep: Sequence[str]) -> None:
    """Raises BadConfiguration for a column that is kept twice or has the name of an output."""
    for name in keep:
        if keep.count(name) > 1 or name in predictor.output_names:
            why = "is named twice in `keep`" if keep.count(name) > 1 else "cannot be kept: an output has this name"
            raise BadConfiguration(f"column '{name}' {why}")


def part_bytes(predictor: Predictor, outputs: Arrays, kept: Columns, made: Made) -> bytes:
    """A Parquet file.

    Raises:
        BadData: a prediction is not a finite number where it must be one (reason PredictionNotFinite); names file and row.
    """
    columns = {name: _kept(column) for name, column in kept.items()}
    for tensor in _tensors(predictor, outputs, made):
        columns[tensor.name] = _column(tensor)
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: made.to_bytes()})
    text = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = pa.BufferOutputStream()
    # Dictionaries of numbers that hardly repeat cost time and room.
    pq.write_table(table, sink, compression="zstd", use_dictionary=text or False, row_group_size=max(1, table.num_rows))
    return bytes(sink.getvalue())


def made_of(data: bytes) -> tuple[Made, int]:
    """What a part says of itself, and its rows. Raises BadData when it is none of ours."""
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as parquet:
            return Made.from_bytes(parquet.schema_arrow.metadata[METADATA_KEY]), parquet.metadata.num_rows
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise BadData(f"it is no part that this program wrote: {str(error).splitlines()[0] if str(error) else ''}") from error


def _tensors(predictor: Predictor, outputs: Arrays, made: Made) -> Sequence[Tensor]:
    def part(start: int, end: int) -> Sequence[Tensor]:
        return predictor.tensors(
            {name: values[start:end] for name, values in outputs.items()}, end - start, predictor.output_names
        )

    try:
        return part(0, made.place.rows)
    except BadData as error:
        raise located(error, part, made.place, made.source) from error


def _column(tensor: Tensor) -> pa.Array:
    values = texts(tensor) if tensor.datatype == BYTES else np.ascontiguousarray(tensor.values)
    array = pa.array(values.reshape(-1), type=_TYPES.get(tensor.datatype))
    # From the innermost list outwards.
    for axis in range(values.ndim - 1, 0, -1):
        lists = int(np.prod(values.shape[:axis]))
        offsets = np.arange(lists + 1, dtype=np.int32) * values.shape[axis]
        array = pa.ListArray.from_arrays(offsets, array)
    return array


def _kept(column: Column) -> Any:
    if not isinstance(column, list):
        return column
    return pa.array([_text(value) for value in column], pa.string())


def _text(value: Any) -> str | None:
    """A string as it is, anything else as JSON; null stays no value."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def schema_of(data: bytes) -> Mapping[str, str]:
    """Names and types of the columns of a part, as Arrow writes them."""
    return {field.name: str(field.type) for field in pq.read_schema(pa.BufferReader(data))}
