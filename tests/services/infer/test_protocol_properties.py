"""The Open Inference Protocol on the wire, drawn: what is written is read back, all else is read or refused."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from windlass_infer.datatypes import DATATYPES, Tensor
from windlass_infer.datatypes import texts as texts_of
from windlass_infer.encoding import encode_request
from windlass_infer.engine import TensorSignature
from windlass_infer.errors import BadRequest
from windlass_infer.protocol import HEADER_LENGTH, InferRequest, RequestedOutput, parse_request

FEATURES = TensorSignature("features", "FP32", (-1, 2))
NAMES = st.text(min_size=1, max_size=8)


SHAPES = npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


@st.composite
def tensors(draw: st.DrawFn, *, binary: bool) -> Tensor:
    datatype = DATATYPES[draw(st.sampled_from(sorted(set(DATATYPES) - (set() if binary else {"FP16", "BF16"}))))]
    shape = draw(SHAPES)
    if datatype.dtype is None:
        count = int(np.prod(shape))
        values = np.array(draw(st.lists(st.text(max_size=6), min_size=count, max_size=count)), dtype=object).reshape(shape)
    else:
        elements = {"allow_nan": binary, "allow_infinity": binary} if datatype.dtype.kind == "f" else None
        values = draw(npst.arrays(datatype.dtype, shape, elements=elements))
        if datatype.name == "BF16":
            values = (values.view("<u4") & np.uint32(0xFFFF0000)).view("<f4")
    return Tensor(draw(NAMES), datatype.name, values)


@st.composite
def requests(draw: st.DrawFn, *, binary: bool) -> InferRequest:
    inputs = draw(st.lists(tensors(binary=binary), min_size=1, max_size=4, unique_by=lambda tensor: tensor.name))
    default = draw(st.booleans())
    outputs = draw(st.none() | st.lists(st.builds(RequestedOutput, NAMES, st.booleans()), min_size=1, max_size=3).map(tuple))
    return InferRequest(tuple(inputs), outputs, default, draw(st.none() | st.text(max_size=8)))


@pytest.mark.parametrize("binary", [False, True], ids=["as JSON", "as binary data"])
@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data())
def test_a_request_is_read_back_as_it_was_written(binary: bool, data: st.DataObject) -> None:
    request = data.draw(requests(binary=binary))
    encoded = encode_request(request, binary=binary)
    again = parse_request(encoded.body, encoded.headers.get(HEADER_LENGTH))
    assert (again.outputs, again.binary_by_default, again.id) == (request.outputs, request.binary_by_default, request.id)
    for before, after in zip(request.inputs, again.inputs, strict=True):
        assert (after.name, after.datatype) == (before.name, before.datatype)
        np.testing.assert_array_equal(texts_of(after) if after.datatype == "BYTES" else after.values, before.values)


@settings(deadline=None)  # a busy machine is no failure
@given(
    length=st.none() | st.integers(-3, 400).map(str) | st.text(max_size=5),
    request=requests(binary=True),
    cuts=st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=3)), max_size=4),
)
def test_a_damaged_binary_request_is_read_or_refused_never_worse(
    length: str | None, request: InferRequest, cuts: list[tuple[int, bytes]]
) -> None:
    encoded = encode_request(request, binary=True)
    body = encoded.body
    for position, replacement in cuts:
        body = body[:position] + replacement + body[position + 1 :]
    for header_length in (encoded.headers[HEADER_LENGTH], length):
        refused_or_read(body, header_length)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is no failure
@given(
    shape=JSON_VALUES | st.lists(st.integers(-1, 3), max_size=4),
    datatype=st.sampled_from([*DATATYPES, "FLOAT"]) | JSON_VALUES,
    data=JSON_VALUES | st.lists(st.lists(st.integers(-300, 300), max_size=3), max_size=3),
    parameters=st.none() | st.fixed_dictionaries({"binary_data_size": JSON_VALUES}) | JSON_VALUES,
    tail=st.binary(max_size=9),
)
def test_a_tensor_of_any_make_is_read_or_refused_never_worse(
    shape: Any, datatype: Any, data: Any, parameters: Any, tail: bytes
) -> None:
    entry = {"name": "x", "shape": shape, "datatype": datatype, "parameters": parameters}
    for document in ({"inputs": [entry]}, {"inputs": [entry | {"data": data}]}):
        header = orjson.dumps(document, default=str) if not _huge(document) else b"{}"
        refused_or_read(header + tail, str(len(header)))


@settings(deadline=None)  # a busy machine is no failure
@given(body=st.binary(max_size=200), length=st.none() | st.integers(0, 210).map(str))
def test_any_bytes_are_read_or_refused_never_worse(body: bytes, length: str | None) -> None:
    refused_or_read(body, length)


def refused_or_read(body: bytes, length: str | None) -> None:
    """Any other exception than a refusal fails the test."""
    sentence, inputs = None, None
    try:
        inputs = parse_request(body, length, FEATURES).inputs
    except BadRequest as refusal:
        sentence = refusal.message
    assert inputs or (sentence and len(sentence) < 500)


def _huge(document: object) -> bool:
    """Whether orjson could not write it: an integer beyond 64 bits."""
    try:
        orjson.dumps(document)
    except TypeError:
        return True
    return False
