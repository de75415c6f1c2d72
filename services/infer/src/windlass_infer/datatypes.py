"""The tensor datatypes of the Open Inference Protocol v2 and their two forms on the wire: JSON values and raw bytes.

Everything here is pure and trusts nothing: a value of the wrong type, a shape that lies or a length that points past the end is
a `BadRequest` with a sentence, never another exception. Knows no requests and no models: `protocol.py` puts messages on top.

Raw bytes are little-endian and row-major; BYTES elements are a 4-byte length followed by that many bytes; BOOL is one byte;
BF16 is the upper half of an FP32. numpy has no BF16, so such a tensor is held as float32, which has all its values.
Source: the tensor data sections of the Open Inference Protocol and of Triton's binary tensor data extension.
"""

import math
import reprlib
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windlass_infer.errors import BadRequest

# More dimensions than any model here has; bounds the work that a shape can cause.
MAX_RANK = 8
# A dimension beyond this cannot fit any body that is accepted; also keeps products of dimensions within 64 bits a factor.
MAX_DIMENSION = 2**31 - 1

BYTES = "BYTES"
BOOL = "BOOL"
BF16 = "BF16"
_FALSE, _FEW = b"\0", 1024
_LENGTH = struct.Struct("<I")
_BF16_BYTES = 2
_BF16_NAN = 0x7FC0
# Looks at the first few values of a list only, whatever its length.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 3, 6, 4, 60, 60


@dataclass(frozen=True)
class Datatype:
    """One datatype.

    `dtype` is the numpy type that holds it (None for BYTES), `size` the raw bytes of one value (0 for BYTES), `json_types` the
    types that its values have in JSON (none: binary only).
    """

    name: str
    dtype: np.dtype[Any] | None
    size: int
    json_types: frozenset[type]


def _of(name: str, dtype: str, *json_types: type) -> Datatype:
    return Datatype(name, np.dtype(dtype), np.dtype(dtype).itemsize, frozenset(json_types))


DATATYPES: dict[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        _of(BOOL, "?", bool),
        _of("UINT8", "u1", int),
        _of("UINT16", "<u2", int),
        _of("UINT32", "<u4", int),
        _of("UINT64", "<u8", int),
        _of("INT8", "i1", int),
        _of("INT16", "<i2", int),
        _of("INT32", "<i4", int),
        _of("INT64", "<i8", int),
        _of("FP16", "<f2"),  # the protocol gives 16-bit floats no form in JSON
        Datatype(BF16, np.dtype("<f4"), _BF16_BYTES, frozenset()),
        _of("FP32", "<f4", int, float),
        _of("FP64", "<f8", int, float),
        Datatype(BYTES, None, 0, frozenset({str})),
    )
}

# Numbers of any width that a numeric column takes.
NUMERIC = frozenset(DATATYPES) - {BYTES, BOOL}
# Names by numpy type, for arrays that bring their own; BF16 is none of them.
DATATYPE_OF_DTYPE = {datatype.dtype: name for name, datatype in DATATYPES.items() if datatype.dtype and name != BF16}


class Tensor(NamedTuple):  # made twice for each request, sooner than a frozen dataclass
    """One named tensor. BYTES tensors are object arrays of str, as JSON gives them, or of bytes, as they come raw."""

    name: str
    datatype: str
    values: NDArray[Any]


def datatype_of(name: object, *, tensor: str) -> Datatype:
    """The datatype of that name. Raises BadRequest."""
    known = DATATYPES.get(name) if isinstance(name, str) else None
    if known is None:
        raise BadRequest(f"tensor '{tensor}': datatype {shown(name)} is not one of {', '.join(DATATYPES)}")
    return known


def shape_of(shape: object, *, tensor: str) -> tuple[int, ...]:
    """The dimensions, if they are a list of whole numbers that a tensor can have. Raises BadRequest."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_RANK:
        raise BadRequest(f"tensor '{tensor}': shape must be a list of 1 to {MAX_RANK} whole numbers, not {shown(shape)}")
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_DIMENSION:
            raise BadRequest(f"tensor '{tensor}': shape {shown(shape)} must hold whole numbers from 0 to {MAX_DIMENSION}")
    return tuple(shape)


def from_json(name: str, datatype: Datatype, shape: tuple[int, ...], data: object) -> Tensor:
    """A tensor from JSON values, nested as the shape says or flat in row-major order.

    Raises:
        BadRequest: values of another type, another number of them, or beyond the range of the datatype.
    """
    if not datatype.json_types:
        raise BadRequest(f"tensor '{name}': {datatype.name} has no form in JSON; send it as binary data")
    if not isinstance(data, list):
        raise BadRequest(f"tensor '{name}': data must be a list, not {shown(data)}")
    flat = _flattened(name, shape, data)
    if not datatype.json_types.issuperset(map(type, flat)):
        index = next(index for index, value in enumerate(flat) if type(value) not in datatype.json_types)
        raise BadRequest(f"tensor '{name}': value {index} is {shown(flat[index])}, which is not {_article(datatype.name)}")
    if datatype.dtype is None:
        return Tensor(name, datatype.name, objects(flat, shape))
    return Tensor(name, datatype.name, _numbers(name, datatype, flat).reshape(shape))


def from_bytes(name: str, datatype: Datatype, shape: tuple[int, ...], raw: memoryview) -> Tensor:
    """A tensor from its raw bytes. Numbers are not copied: they are a read-only view of `raw`.

    Raises:
        BadRequest: the number of bytes is not that of the shape, or the bytes are no values of the datatype.
    """
    count = math.prod(shape)
    if datatype.dtype is None:
        return Tensor(name, datatype.name, objects(_elements(name, raw, count), shape))
    expected = count * datatype.size
    if len(raw) != expected:
        raise BadRequest(
            f"tensor '{name}': shape {list(shape)} of {datatype.name} takes {expected} bytes, but {len(raw)} were sent"
        )
    return Tensor(name, datatype.name, _values(name, datatype, raw).reshape(shape))


def to_bytes(tensor: Tensor) -> bytes | memoryview:
    """The raw bytes of a tensor, as `from_bytes` reads them. Numbers are not copied: they are a view of the tensor."""
    datatype = DATATYPES[tensor.datatype]
    if datatype.dtype is None:
        encoded = [element if isinstance(element, bytes) else str(element).encode() for element in tensor.values.ravel()]
        return b"".join(chain.from_iterable((_LENGTH.pack(len(element)), element) for element in encoded))
    values = np.ascontiguousarray(tensor.values, dtype=datatype.dtype).ravel()
    if datatype.name == BF16:
        values = _halved(values)
    return values.view(np.uint8).data


def texts(tensor: Tensor) -> NDArray[Any]:
    """The values of a BYTES tensor as str, of the same shape. Raises BadRequest for one that is not UTF-8."""
    flat = tensor.values.ravel()
    if all(type(element) is str for element in flat):
        return tensor.values
    return objects([_text(tensor.name, index, element) for index, element in enumerate(flat)], tensor.values.shape)


def objects(values: Sequence[object], shape: tuple[int, ...]) -> NDArray[Any]:
    """An object array: the values of a BYTES tensor."""
    elements = np.empty(len(values), dtype=object)
    elements[:] = values
    return elements.reshape(shape)


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no floating-point number of an array is NaN or infinite."""
    finite = np.isfinite(values)
    # Of a few numbers this is told in half of the time that `all` takes, of many later.
    few = finite.size <= _FEW and finite.flags.c_contiguous
    return _FALSE not in finite.tobytes() if few else bool(finite.all())


def shown(value: object) -> str:
    """A value as it may stand in an error sentence: short, whatever a client sent."""
    text = _SHORT.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flattened(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """The values in row-major order, checked against the shape."""
    count = math.prod(shape)
    flat = data
    if data and type(data[0]) is list:
        if len(data) != shape[0]:
            raise BadRequest(f"tensor '{name}': shape {list(shape)} says {shape[0]} rows, but data has {len(data)}")
        for size in shape[1:]:
            # A list beside a bare value, or a list of another length, cannot be the shape that was declared.
            if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
                raise BadRequest(f"tensor '{name}': data is not nested as shape {list(shape)} says")
            flat = list(chain.from_iterable(flat))
    if len(flat) != count:
        raise BadRequest(f"tensor '{name}': shape {list(shape)} takes {count} values, but data has {len(flat)}")
    return flat


def _numbers(name: str, datatype: Datatype, flat: Sequence[Any]) -> NDArray[Any]:
    dtype = datatype.dtype
    assert dtype is not None  # noqa: S101  # BYTES was handled by the caller
    try:
        # Of a number beyond FP32 numpy would warn, and to keep it from that costs a microsecond for each request.
        values = np.frombuffer(array("f", flat), dtype) if dtype == np.float32 else np.array(flat, dtype)
    except OverflowError:
        raise BadRequest(f"tensor '{name}': a value lies beyond the range of {datatype.name}") from None
    # JSON has no NaN and no infinity, so one here was a number too large for the datatype.
    if dtype.kind == "f" and not all_finite(values):
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadRequest(f"tensor '{name}': value {index} is {shown(flat[index])}, beyond the range of {datatype.name}")
    return values


def _values(name: str, datatype: Datatype, raw: memoryview) -> NDArray[Any]:
    """Numbers from as many raw bytes as they take."""
    if datatype.name == BF16:
        return (np.frombuffer(raw, dtype="<u2").astype("<u4") << 16).view("<f4")
    if datatype.name != BOOL:
        return np.frombuffer(raw, dtype=datatype.dtype)
    values = np.frombuffer(raw, dtype=np.uint8)
    if values.size and values.max() > 1:
        raise BadRequest(f"tensor '{name}': a BOOL is one byte, 0 or 1, but one is {int(values.max())}")
    return values.view(np.bool_)


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    """float32 as the bits of the nearest BF16, ties to even."""
    bits = values.view("<u4")
    nearest = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16).astype("<u2")
    # Rounding could carry a NaN over into an infinity or a zero.
    return np.where(np.isnan(values), np.uint16(_BF16_NAN), nearest)


def _elements(name: str, raw: memoryview, count: int) -> list[bytes]:
    if count > len(raw) // _LENGTH.size:
        least = count * _LENGTH.size
        raise BadRequest(f"tensor '{name}': {count} BYTES values take at least {least} bytes, but {len(raw)} were sent")
    elements: list[bytes] = []
    offset = 0
    for index in range(count):
        start = offset + _LENGTH.size
        length = _LENGTH.unpack_from(raw, offset)[0] if start <= len(raw) else 0
        if start + length > len(raw):
            raise BadRequest(f"tensor '{name}': BYTES value {index} points past the end of the tensor's {len(raw)} bytes")
        elements.append(bytes(raw[start : start + length]))
        offset = start + length
    if offset != len(raw):
        raise BadRequest(f"tensor '{name}': {len(raw) - offset} bytes follow the last of {count} BYTES values")
    return elements


def _text(name: str, index: int, element: object) -> str:
    if not isinstance(element, bytes):
        return str(element)
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"tensor '{name}': BYTES value {index} is not UTF-8") from None


def _article(datatype: str) -> str:
    return f"{'an' if datatype[0] in 'IU' else 'a'} {datatype} value"
