"""A body that is nothing but the values of one tensor: little-endian, row-major, without a header.

Pure, and without a copy: the tensor is a view of the body. Knows no HTTP and no model but one signature.
"""

import math

from windlass_infer.datatypes import DATATYPES, Tensor, from_bytes
from windlass_infer.engine import TensorSignature
from windlass_infer.errors import BadRequest


def shape_follows(signature: TensorSignature) -> bool:
    """Whether the number of values tells the shape: no more than one dimension of a row is free, and none is 0."""
    return signature.shape[1:].count(-1) <= 1 and 0 not in signature.shape[1:]


def tensor_of_raw(signature: TensorSignature, body: bytes | memoryview) -> Tensor:
    """The tensor that a body of raw values is.

    Where all dimensions of a row are fixed, the length of the body gives the number of rows. Where one is free, the body is one
    row, and its length gives that dimension. This is Triton's raw binary request, for several rows too.

    Args:
        signature: of the model's only input; numbers or truth values.
        body: the values.

    Raises:
        BadRequest: the length is that of no whole number of rows, or more than one dimension of a row is free.
    """
    datatype = DATATYPES[signature.datatype]
    fixed = math.prod(size for size in signature.shape[1:] if size >= 0)
    step = fixed * datatype.size
    free = signature.shape[1:].count(-1)
    if not shape_follows(signature):
        raise BadRequest(f"the body is raw values, but the shape of {signature} does not follow from their number")
    if not len(body) or len(body) % step:
        kind = "of one row " if free else ""
        expected = f"{signature} takes {fixed} values {kind}or a multiple, each {datatype.size} bytes"
        raise BadRequest(f"the body has {len(body)} bytes; {expected}")
    count = len(body) // step
    row = tuple(count if size < 0 else size for size in signature.shape[1:])
    return from_bytes(signature.name, datatype, (1 if free else count, *row), memoryview(body))
