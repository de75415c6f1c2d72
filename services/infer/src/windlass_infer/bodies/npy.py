"""NumPy's .npy format: one array of numbers, with a header that says what it is.

Pure. Arrays in C order and of this machine's byte order are views of the body, without a copy. Object arrays, which would be
pickles, are never read. Format: numpy.lib.format, versions 1.0 and 2.0 (3.0 is for structured arrays only).
"""

import math
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from windlass_infer.datatypes import DATATYPE_OF_DTYPE, MAX_RANK, Tensor
from windlass_infer.errors import BadRequest

NPY_TYPE = "application/x-npy"

# numpy's own headers have 118 bytes, rounded up to 64; more is no header of one array of numbers.
_MAX_HEADER_BYTES = 4096
_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


def read_npy(name: str, body: bytes) -> Tensor:
    """The array of a .npy file as the tensor `name`.

    Raises:
        BadRequest: it is no such file, its values are not all there, or are no numbers or truth values.
    """
    shape, fortran_order, dtype, start = _header(body)
    datatype = DATATYPE_OF_DTYPE.get(dtype.newbyteorder("<"))
    if datatype is None:
        raise BadRequest(f"the .npy body holds {dtype}; it must hold numbers or truth values")
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
    head = BytesIO(body[:_MAX_HEADER_BYTES])
    try:
        read = _READERS[npy_format.read_magic(head)]
        shape, fortran_order, dtype = read(head, max_header_size=_MAX_HEADER_BYTES)
    except KeyError:
        raise BadRequest("the .npy body is of a version other than 1.0 and 2.0") from None
    # The header is a Python literal; what a parser of those raises for bad ones is not only ValueError.
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError, UserWarning):
        raise BadRequest("the body is no .npy file, as numpy.save writes it") from None
    if any(type(size) is not int or size < 0 for size in shape):
        raise BadRequest(f"the .npy body says the shape {list(shape)[:MAX_RANK]}, which no array has")
    return shape, fortran_order, dtype, head.tell()
