"""The Open Inference Protocol on the wire: what is written is read back, and whatever else comes is refused with a sentence."""

import struct
from typing import Any

import numpy as np
import orjson
import pytest

from windlass_infer.datatypes import DATATYPES, Tensor, from_bytes, to_bytes
from windlass_infer.encoding import classified, encode_response
from windlass_infer.engine import TensorSignature
from windlass_infer.errors import BadRequest, PredictionNotFinite
from windlass_infer.protocol import HEADER_LENGTH, RequestedOutput, parse_request

FEATURES = TensorSignature("features", "FP32", (-1, 2))


def infer(**entry: Any) -> bytes:
    return orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]} | entry]})


def with_parameters(**parameters: Any) -> bytes:
    return orjson.dumps({**orjson.loads(infer()), "parameters": parameters})


def asking(parameters: Any) -> bytes:
    return orjson.dumps({**orjson.loads(infer()), "outputs": [{"name": "y", "parameters": parameters}]})


REFUSED: dict[str, tuple[bytes, str]] = {
    "a body that is no JSON": (b"{", "not JSON"),
    "a body that is a list": (b"[1]", "must be a JSON object"),
    "NaN, which JSON has not": (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}', "not JSON"),
    "no inputs": (b"{}", "inputs is missing"),
    "inputs that are no list": (b'{"inputs": {}}', "must be a list of objects"),
    "an input without a name": (infer(name=""), "has no name"),
    "an input with a name beyond all bounds": (infer(name="x" * 600), "a name of 600 characters"),
    "an unknown datatype": (infer(datatype="FLOAT"), "'FLOAT' is not one of BOOL"),
    "a datatype that JSON cannot hold": (infer(datatype="FP16"), "has no form in JSON; send it as binary data"),
    "a shape that is no list": (infer(shape=2), "shape must be a list"),
    "a shape of nothing": (infer(shape=[]), "shape must be a list of 1 to 8"),
    "a shape with too many dimensions": (infer(shape=[1] * 9), "shape must be a list of 1 to 8"),
    "a negative dimension": (infer(shape=[-2]), "whole numbers from 0"),
    "a dimension beyond every body": (infer(shape=[2**40]), "whole numbers from 0"),
    "dimensions whose product overflows": (infer(shape=[2**31 - 1] * 8), "takes "),
    "a fractional dimension": (infer(shape=[2.0]), "whole numbers from 0"),
    "a dimension that is a truth value": (infer(shape=[True]), "whole numbers from 0"),
    "too few values": (infer(data=[1]), "takes 2 values, but data has 1"),
    "nesting of another width": (infer(shape=[1, 2], data=[[1, 2, 3]]), "not nested as shape"),
    "nesting of another height": (infer(shape=[3, 1], data=[[1], [2]]), "says 3 rows, but data has 2"),
    "ragged nesting": (infer(shape=[2, 2], data=[[1, 2], [3]]), "not nested as shape"),
    "a list beside a value": (infer(shape=[2, 1], data=[[1], 2]), "not nested as shape"),
    "nesting deeper than the shape": (infer(shape=[2], data=[[1], [2]]), "value 0 is [1]"),
    "data that is no list": (infer(data=1), "data must be a list"),
    "text among numbers": (infer(data=[1, "2"]), "value 1 is '2', which is not a FP32 value"),
    "nothing among numbers": (infer(data=[1, None]), "value 1 is None"),
    "a truth value among numbers": (infer(data=[1, True]), "value 1 is True"),
    "a fraction among integers": (infer(datatype="INT32", data=[1, 1.5]), "value 1 is 1.5, which is not an INT32"),
    "an integer beyond its datatype": (infer(datatype="UINT8", data=[1, 256]), "beyond the range of UINT8"),
    "a negative unsigned integer": (infer(datatype="UINT8", data=[1, -1]), "beyond the range of UINT8"),
    "a number beyond FP32": (infer(data=[1, 1e39]), "value 1 is 1e+39, beyond the range of FP32"),
    "a number where text belongs": (infer(datatype="BYTES", data=["a", 1]), "value 1 is 1, which is not a BYTES value"),
    "neither data nor binary data": (
        orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}),
        "neither data nor",
    ),
    "an input given twice": (
        orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}] * 2}),
        "given twice",
    ),
    "an id that is no text": (orjson.dumps({"id": 5, **orjson.loads(infer())}), "id must be a string"),
    "parameters that are no object": (infer(parameters=[1]), "must be an object"),
    "an output without a name": (orjson.dumps({**orjson.loads(infer()), "outputs": [{}]}), "output has no name"),
    "outputs that are no list": (orjson.dumps({**orjson.loads(infer()), "outputs": 3}), "must be a list of objects"),
    "an output in shared memory": (asking({"shared_memory_region": "r"}), "output 'y': shared memory is not supported"),
    "an input in shared memory": (infer(parameters={"shared_memory_region": "r"}), "input 'x': shared memory is not supported"),
    "a number of classes that is none": (
        asking({"classification": -1}),
        "parameter classification of output 'y' must",
    ),
    "a sequence": (with_parameters(sequence_id=7), "sequence_id is not supported"),
    "a time limit that is none": (with_parameters(timeout=1.5), "parameter timeout of the request must be a whole number"),
    "a priority that is none": (with_parameters(priority=True), "parameter priority of the request must be a whole number"),
    "a flag that is no truth value": (
        orjson.dumps({**orjson.loads(infer()), "parameters": {"binary_data_output": 1}}),
        "must be true or false",
    ),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_json_request_is_refused_for(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_request(body)
    assert reason in refusal.value.message


def framed(raw: bytes, *, size: Any, length: Any = None, **entry: Any) -> tuple[bytes, str]:
    """A binary request for one input, and its header."""
    description = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": size}} | entry
    header = orjson.dumps({"inputs": [description]})
    return header + raw, str(len(header) if length is None else length)


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


REFUSED_FRAMES: dict[str, tuple[tuple[bytes, str], str]] = {
    "a header length that is no number": (framed(b"\0" * 8, size=8, length="x"), "must be a whole number of bytes"),
    "a negative header length": (framed(b"\0" * 8, size=8, length=-1), "must be a whole number of bytes"),
    "a header length beyond the body": (framed(b"\0" * 8, size=8, length=5000), "but the body has"),
    "a header length of digits that are not ASCII": (framed(b"\0" * 8, size=8, length="٣"), "must be a whole number"),
    "a header length with a thousand digits": (framed(b"\0" * 8, size=8, length="9" * 1000), "must be a whole number"),
    "a header length that cuts the JSON": (framed(b"\0" * 8, size=8, length=10), "not JSON"),
    "a size beyond the body": (framed(b"\0" * 8, size=9), "only 8 bytes of binary data are left"),
    "a negative size": (framed(b"\0" * 8, size=-8), "must be a whole number of bytes"),
    "a size that is no number": (framed(b"\0" * 8, size="8"), "must be a whole number of bytes"),
    "bytes that belong to no input": (framed(b"\0" * 9, size=8), "1 bytes of binary data belong to no input"),
    "a size that is not the shape's": (framed(b"\0" * 4, size=4), "takes 8 bytes, but 4 were sent"),
    "data and binary data at once": (framed(b"\0" * 8, size=8, data=[1, 2]), "both data and the parameter"),
    "a BOOL that is neither 0 nor 1": (framed(b"\0\2", size=2, datatype="BOOL"), "0 or 1, but one is 2"),
    "text whose length points past the end": (
        framed(struct.pack("<I", 99) + b"abcd", size=8, datatype="BYTES", shape=[1]),
        "value 0 points past the end",
    ),
    "text that is cut in its length": (framed(texts(b"abc") + b"\0", size=8, datatype="BYTES"), "value 1 points past the end"),
    "more text than the shape says": (
        framed(texts(b"a", b"b"), size=10, datatype="BYTES", shape=[1]),
        "5 bytes follow the last of 1",
    ),
    "more values than the bytes can hold": (
        framed(texts(b"a"), size=5, datatype="BYTES", shape=[2**31 - 1]),
        "BYTES values take at least",
    ),
}


@pytest.mark.parametrize(("frame", "reason"), REFUSED_FRAMES.values(), ids=REFUSED_FRAMES)
def test_a_binary_request_is_refused_for(frame: tuple[bytes, str], reason: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_request(*frame)
    assert reason in refusal.value.message


def test_a_body_of_raw_values_is_rows_of_the_only_input() -> None:
    values = np.arange(6, dtype="<f4")
    request = parse_request(values.tobytes(), "0", TensorSignature("features", "FP32", (-1, 3)))
    np.testing.assert_array_equal(request.inputs[0].values, values.reshape(2, 3))
    assert request.selected(("probabilities",)) == (RequestedOutput("probabilities", binary=True),)


@pytest.mark.parametrize(
    ("size", "raw_input", "reason"),
    [
        (8, None, "only a model whose one input is numbers"),
        (7, FEATURES, "the body has 7 bytes"),
        (0, FEATURES, "the body has 0 bytes"),
    ],
    ids=["the model takes other inputs", "it is no whole row", "it is empty"],
)
def test_a_body_of_raw_values_is_refused_when(size: int, raw_input: TensorSignature | None, reason: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_request(b"\0" * size, "0", raw_input)
    assert reason in refusal.value.message


def test_nested_data_is_read_in_row_major_order() -> None:
    request = parse_request(infer(shape=[2, 2, 1], data=[[[1], [2]], [[3], [4]]]))
    assert request.inputs[0].values.ravel().tolist() == [1, 2, 3, 4]


def test_integers_are_numbers_of_a_floating_tensor() -> None:
    assert parse_request(infer(data=[1, 2])).inputs[0].values.dtype == np.float32


def test_outputs_can_be_chosen_and_each_be_binary_or_json() -> None:
    body = orjson.dumps(
        {
            **orjson.loads(infer()),
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "b"}, {"name": "a", "parameters": {"binary_data": False}}],
        }
    )
    assert parse_request(body).selected(("a", "b")) == (RequestedOutput("b", True), RequestedOutput("a", False))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (None, 0)),
        ({"timeout": 0}, (None, 0)),
        ({"timeout": 1_500_000, "priority": 2}, (1.5, 2)),
        ({"mine": [1]}, (None, 0)),
    ],
    ids=["nothing", "no limit", "microseconds and a priority", "a parameter of somebody else"],
)
def test_the_schedule_of_a_request_is_read(parameters: dict[str, Any], expected: tuple[float | None, int]) -> None:
    request = parse_request(with_parameters(**parameters))
    assert (request.timeout_seconds, request.priority) == expected


def test_an_output_cannot_be_asked_for_twice() -> None:
    body = orjson.dumps({**orjson.loads(infer()), "outputs": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(BadRequest, match="output 'a' is asked for twice"):
        parse_request(body).selected(("a",))


def test_bytes_that_are_no_text_pass_unchanged() -> None:
    raw = texts(b"\xff\0", b"")
    [tensor] = parse_request(*framed(raw, size=len(raw), datatype="BYTES")).inputs
    assert tensor.values.tolist() == [b"\xff\0", b""]
    answer = encode_response([(tensor, True)], model="m", version="1", identifier=None)
    assert answer.body.endswith(raw)


def test_bytes_that_are_no_text_are_refused_where_text_belongs() -> None:
    tensor = Tensor("y", "BYTES", np.array([b"yes", b"\xff"], dtype=object))
    with pytest.raises(BadRequest, match="tensor 'y': BYTES value 1 is not UTF-8"):
        encode_response([(tensor, False)], model="m", version="1", identifier=None)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["NaN", "infinity"])
def test_a_number_that_is_not_finite_goes_as_binary_and_not_as_json(value: float) -> None:
    tensor = Tensor("y", "FP32", np.array([[1], [value]], dtype=np.float32))
    assert encode_response([(tensor, True)], model="m", version="1", identifier=None).body.endswith(tensor.values.tobytes())
    with pytest.raises(PredictionNotFinite, match=r"row 1 .* of output 'y'"):
        encode_response([(tensor, False)], model="m", version="1", identifier=None)


def test_the_nearest_bf16_is_written_and_ties_go_to_the_even_one() -> None:
    values = np.array([1, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, 3.0e38, 3.4028235e38, np.inf, np.nan], dtype=np.float32)
    raw = bytes(to_bytes(Tensor("y", "BF16", values)))
    assert np.frombuffer(raw, "<u2").tolist() == [0x3F80, 0xC020, 0x3F80, 0x3F82, 0x7F62, 0x7F80, 0x7F80, 0x7FC0]
    again = from_bytes("y", DATATYPES["BF16"], (8,), memoryview(raw)).values
    np.testing.assert_array_equal(again, np.array([1, -2.5, 1, 1 + 2**-6, again[4], np.inf, np.inf, np.nan], np.float32))


def test_the_best_classes_come_first_with_value_index_and_label() -> None:
    shares = Tensor("y", "FP32", np.array([[0.25, 0.5, 0.25], [1, 0, 0]], dtype=np.float32))
    assert classified(shares, 2, ["a", "b", "c"]).values.tolist() == [
        ["0.500000:1:b", "0.250000:0:a"],
        ["1.000000:0:a", "0.000000:1:b"],
    ]
    assert classified(shares, 9, []).values.tolist()[1] == ["1.000000:0", "0.000000:1", "0.000000:2"]


@pytest.mark.parametrize(
    "tensor",
    [Tensor("y", "BYTES", np.array([["a"]], dtype=object)), Tensor("y", "FP32", np.zeros(3, np.float32))],
    ids=["text", "one number a row"],
)
def test_what_is_not_one_number_a_class_has_no_best_classes(tensor: Tensor) -> None:
    with pytest.raises(BadRequest, match="output 'y' is not one number a class"):
        classified(tensor, 1, [])


def test_an_output_that_the_model_has_not_is_refused() -> None:
    body = orjson.dumps({**orjson.loads(infer()), "outputs": [{"name": "logits"}]})
    with pytest.raises(BadRequest, match="output 'logits' is not one of label, probabilities"):
        parse_request(body).selected(("label", "probabilities"))


def test_a_response_is_json_and_echoes_id_model_and_version() -> None:
    tensor = Tensor("probabilities", "FP32", np.array([[0.25, 0.75]], dtype=np.float32))
    answer = encode_response([(tensor, False)], model="m", version="3", identifier="q")
    assert orjson.loads(answer.body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "q",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}],
    }
    assert answer.headers == {"Content-Type": "application/json"}


def test_a_mixed_response_has_its_binary_tensors_behind_the_json_in_order() -> None:
    label = Tensor("label", "BYTES", np.array(["yes", "né"], dtype=object))
    shares = Tensor("probabilities", "FP32", np.array([[0.5], [1]], dtype=np.float32))
    answer = encode_response([(label, True), (shares, True)], model="m", version="3", identifier=None)
    length = int(answer.headers[HEADER_LENGTH])
    header = orjson.loads(answer.body[:length])
    assert [output["parameters"]["binary_data_size"] for output in header["outputs"]] == [14, 8]
    assert answer.body[length:] == texts(b"yes", "né".encode()) + np.array([0.5, 1], dtype="<f4").tobytes()
    assert "data" not in header["outputs"][0]
