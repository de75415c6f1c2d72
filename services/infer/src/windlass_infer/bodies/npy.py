"""NumPy's .npy format: one array of numbers, with a header that says what it is.

Pure. Arrays in C order and of this machine's byte order are views of the body, without a copy. Object arrays, which would be
pickles, are never read. Format: numpy.lib.format, versions 1.0 and 2.0 (3.0 is for structured arrays only).
"""

import ast
import math
import re
import struct
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from windlass_infer.datatypes import DATATYPE_OF_DTYPE, MAX_RANK, Tensor, shown
from windlass_infer.errors import BadRequest

NPY_TYPE = "application/x-npy"

# numpy's own headers have 118 bytes, or a little more; beyond this is no header of one array of numbers.
_MAX_HEADER_BYTES = 1024
_HEADERS_KEPT = 256
_NOT_WRITTEN_SO = "the header of the .npy body is not one that numpy.save writes"
_MAGIC = b"\x93NUMPY"
# Where the length of the header stands, and how, by the version.
_AT = len(_MAGIC) + 2
_LENGTHS = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I")}
# Truth values, integers and floats: a byte order, a kind and a width in bytes.
_NUMBERS = re.compile("[|<>=]?(b1|[iu][1248]|f[248])")


def read_npy(name: str, body: bytes) -> Tensor:
    """The array of a .npy file as the tensor `name`.

    Raises:
        BadRequest: it is no such file, its values are not all there, or are no numbers or truth values.
    """
    shape, fortran_order, dtype, start = _header(body)
    datatype = DATATYPE_OF_DTYPE[dtype.newbyteorder("<")]
    if not 1 <= len(shape) <= MAX_RANK:
        raise BadRequest(f"the .npy body has {len(shape)} dimensions; it must have 1 to {MAX_RANK}")
    raw = memoryview(body)[start:]
    expected = dtype.itemsize * math.prod(shape)
    if len(raw) != expected:
        raise BadRequest(f"the .npy body says {dtype} {list(shape)}, {expected} bytes, but {len(raw)} follow its header")
    if dtype.kind == "b" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
        raise BadRequest("the .npy body holds truth values that are neither 0 nor 1")
    values: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran_order else "C")
    return Tensor(name, datatype, values.astype(dtype.newbyteorder("<"), copy=False))


def write_npy(values: NDArray[Any]) -> bytes:
    """A .npy file of numbers, truth values or str."""
    written = BytesIO()
    # Fixed-width text instead of objects, which could only be pickled.
    plain = values.astype(np.str_) if values.dtype == object else values
    npy_format.write_array(written, plain, version=(1, 0), allow_pickle=False)
    return written.getvalue()


def _header(body: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, type of the values, and where they begin."""
    length = _LENGTHS.get(body[len(_MAGIC) : len(_MAGIC) + 2])
    if not body.startswith(_MAGIC) or length is None or len(body) < _AT + length.size:
        raise BadRequest("the body is no .npy file of version 1.0 or 2.0, as numpy.save writes it")
    start = _AT + length.size
    [size] = length.unpack_from(body, _AT)
    if size > _MAX_HEADER_BYTES:
        raise BadRequest(_NOT_WRITTEN_SO)
    return *_described(body[start : start + size]), start + size


# A client sends the same header with every array of the same shape; taking it apart costs more than all the rest.
@lru_cache(maxsize=_HEADERS_KEPT)
def _described(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        said = ast.literal_eval(header.decode("latin-1"))
        shape, fortran_order, description = (said[key] for key in ("shape", "fortran_order", "descr"))
    # What a parser of Python raises for what is none is not only SyntaxError; one that parses may be no mapping.
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, Warning):
        raise BadRequest(_NOT_WRITTEN_SO) from None
    if not isinstance(shape, tuple) or any(type(one) is not int or one < 0 for one in shape):
        raise BadRequest(f"the .npy body says the shape {shown(shape)}, which no array has")
    if not isinstance(description, str) or not _NUMBERS.fullmatch(description):
        raise BadRequest(f"the .npy body holds {shown(description)}; it must hold numbers or truth values")
    return shape, bool(fortran_order), np.dtype(description)
