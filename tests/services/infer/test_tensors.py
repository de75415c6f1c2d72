"""Versions of tensors: what fits the program's signature reaches it unchanged, however it is asked, and nothing else does."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from windlass_core.errors import BadData, WindlassError
from windlass_core.manifests import ModelContent
from windlass_infer.datatypes import to_bytes
from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.errors import BadRequest, PredictionNotFinite, UnsupportedMedia
from windlass_infer.examples import infer_examples, predict_examples
from windlass_infer.openapi import inference_paths
from windlass_infer.predictor import ServedVersion
from windlass_infer.protocol import HEADER_LENGTH
from windlass_infer.questions import Read, read_infer, read_predict
from windlass_infer.tensor_predictor import TensorPredictor

VERSION = ServedVersion("net", 3, "sha256:00", "net")
LENGTH_KEY = HEADER_LENGTH.lower().encode()


def predictor(inputs: str, outputs: str = "y FP32 -1,2", **content: Any) -> TensorPredictor:
    """A predictor for signatures such as `x FP32 -1,2; ids INT64 -1`."""

    def signatures(text: str) -> tuple[TensorSignature, ...]:
        words = [one.split() for one in text.split(";")]
        return tuple(TensorSignature(name, kind, tuple(map(int, shape.split(",")))) for name, kind, shape in words)

    signature = EngineSignature(signatures(inputs), signatures(outputs))
    described = [{"name": one.name, "datatype": "FP32", "shape": list(one.shape)} for one in signature.inputs]
    described = [one | content.pop(one["name"], {}) for one in described]  # type: ignore[call-overload]
    manifest = {"inputs": described, "outputs": [], "formats": {}, "parameters": 0}
    return TensorPredictor(VERSION, ModelContent.model_validate(manifest | content), signature)


def ask(
    asked: TensorPredictor, read: Read, body: Any, run: Callable[[Arrays], Arrays], headers: dict[bytes, bytes] | None = None
) -> Any:
    question = read(asked, body if isinstance(body, bytes) else orjson.dumps(body), headers or {})
    return question.answer(run(question.inputs))


def doubled(inputs: Arrays) -> Arrays:
    return {"y": 2 * inputs["x"]}


ONE = predictor("x FP32 -1,2")


def test_instances_of_one_input_are_nested_lists_and_so_are_predictions() -> None:
    answer = orjson.loads(ask(ONE, read_predict, {"instances": [[1, 2], [3, 4.5]]}, doubled).body)
    assert answer == {
        "predictions": [[2, 4], [6, 9]],
        "model": {"name": "net", "version": 3, "digest": "sha256:00"},
    }


def test_instances_of_several_inputs_are_objects_and_so_are_predictions_of_several_outputs() -> None:
    two = predictor("ids INT64 -1,-1; text BYTES -1", "length INT64 -1; text BYTES -1")

    def run(inputs: Arrays) -> Arrays:
        assert inputs["text"].tolist() == ["a", "é"]
        return {"length": inputs["ids"].sum(axis=1), "text": inputs["text"]}

    body = {"instances": [{"ids": [1, 2, 3], "text": "a"}, {"text": "é", "ids": [4, 5, 6]}]}
    answer = orjson.loads(ask(two, read_predict, body, run).body)
    assert answer["predictions"] == [{"length": 6, "text": "a"}, {"length": 15, "text": "é"}]


def test_rows_of_one_value_are_a_plain_list() -> None:
    scalar = predictor("x FP32 -1", "y FP32 -1")
    assert orjson.loads(ask(scalar, read_predict, {"instances": [1, 2.5]}, doubled).body)["predictions"] == [2, 5]


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_predict_takes_and_gives_16_bit_floats_as_numbers(datatype: str) -> None:
    half = predictor(f"x {datatype} -1,2", f"y {datatype} -1,2")
    assert orjson.loads(ask(half, read_predict, {"instances": [[1, 0.5]]}, doubled).body)["predictions"] == [[2, 1]]


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT16", "INT64", "FP16", "FP32", "FP64", "BF16"])
def test_binary_tensors_reach_the_program_without_a_copy_and_come_back(datatype: str) -> None:
    same = predictor(f"x {datatype} -1,2", f"y {datatype} -1,2")
    [example] = same.example_tensors(3)
    raw = bytes(to_bytes(example))
    held: list[Any] = []

    def run(inputs: Arrays) -> Arrays:
        held.append(inputs["x"])
        return {"y": inputs["x"]}

    answer = ask(same, read_infer, raw, run, {LENGTH_KEY: b"0"})
    assert answer.body.endswith(raw)
    if datatype != "BF16":  # which becomes float32
        assert np.shares_memory(held[0], np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(("datatype", "size"), [("FP32", 4), ("FP64", 8), ("INT64", 8), ("INT8", 1), ("BOOL", 1)])
def test_a_question_holds_what_its_json_became_and_nothing_beside_raw_bytes(datatype: str, size: int) -> None:
    same = predictor(f"x {datatype} -1,2", f"y {datatype} -1,2")
    value = True if datatype == "BOOL" else 1
    tensor = {"name": "x", "datatype": datatype, "shape": [3, 2], "data": [value] * 6}
    for _ in range(3):  # its frame comes to be known
        assert read_infer(same, orjson.dumps({"inputs": [tensor]}), {}).held_bytes == 6 * size
    assert read_infer(same, bytes(6 * size), {LENGTH_KEY: b"0"}).held_bytes == 0


def test_an_output_that_is_not_finite_passes_as_binary_and_is_named_as_json() -> None:
    def run(inputs: Arrays) -> Arrays:
        return {"y": np.log(inputs["x"] * 0 + [1, 0])}

    body = np.ones((1, 2), "<f4").tobytes()
    with np.errstate(divide="ignore"):
        assert np.frombuffer(ask(ONE, read_infer, body, run, {LENGTH_KEY: b"0"}).body[-8:], "<f4").tolist() == [0, -np.inf]
        with pytest.raises(PredictionNotFinite, match="row 0"):
            ask(ONE, read_predict, {"instances": [[1, 2]]}, run)


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (1, 2, 1)], ids=["another width", "other rows", "another rank"])
def test_an_answer_of_another_shape_is_the_programs_fault(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the program answered y"):
        ask(ONE, read_predict, {"instances": [[1, 2]]}, lambda _: {"y": np.zeros(shape, np.float32)})


def tensor(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]} | fields]}


BOUNDED = predictor("x INT64 -1,-1", x={"minimum": 0, "maximum": 9})
PAIR = predictor("a FP32 -1,1; b FP32 -1,1")
REFUSED: dict[str, tuple[TensorPredictor, Read, Any, type[WindlassError], str]] = {
    "another datatype": (ONE, read_infer, tensor(datatype="FP64"), BadRequest, "input 'x' takes FP32, not FP64"),
    "another width": (ONE, read_infer, tensor(shape=[1, 3], data=[1, 2, 3]), BadRequest, "it must be x FP32 [rows, 2]"),
    "another rank": (ONE, read_infer, tensor(shape=[2]), BadRequest, "has shape [2]; it must be"),
    "no rows": (ONE, read_infer, tensor(shape=[0, 2], data=[]), BadRequest, "has shape [0, 2]"),
    "a free size of nothing": (
        BOUNDED,
        read_infer,
        tensor(datatype="INT64", shape=[1, 0], data=[]),
        BadRequest,
        "none of them 0",
    ),
    "an input that is unknown": (ONE, read_infer, tensor(name="z"), BadRequest, "input 'z' is not one of x"),
    "an input that is missing": (
        PAIR,
        read_infer,
        tensor(name="a", shape=[1, 1], data=[1]),
        BadRequest,
        "input 'b' is missing",
    ),
    "inputs of different lengths": (
        PAIR,
        read_infer,
        {
            "inputs": [
                {"name": "a", "datatype": "FP32", "shape": [1, 1], "data": [1]},
                {"name": "b", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]},
            ]
        },
        BadRequest,
        "all inputs must have as many rows, but they have a 1, b 2",
    ),
    "a value that is too small": (BOUNDED, read_predict, {"instances": [[1], [-1]]}, BadData, "the value at [1, 0] is -1"),
    "a value that is too large": (BOUNDED, read_predict, {"instances": [[1, 10]]}, BadData, "but it must be at most 9"),
    "a fraction among integers": (BOUNDED, read_predict, {"instances": [[1.5]]}, BadRequest, "1.5, which is not an INT64"),
    "text among numbers": (ONE, read_predict, {"instances": [["1", 2]]}, BadRequest, "is '1', which is not a FP32 value"),
    "a truth value among numbers": (ONE, read_predict, {"instances": [[True, 2]]}, BadRequest, "is True"),
    "a row that is no list": (ONE, read_predict, {"instances": [1]}, BadRequest, "1 is no row of x FP32 [rows, 2]"),
    "a row that is empty": (ONE, read_predict, {"instances": [[]]}, BadRequest, "[] is no row of x"),
    "rows of different widths": (ONE, read_predict, {"instances": [[1, 2], [3]]}, BadRequest, "not nested as shape"),
    "a row for several inputs that is a list": (PAIR, read_predict, {"instances": [[1, 2]]}, BadRequest, "must be an object"),
    "a row that lacks an input": (PAIR, read_predict, {"instances": [{"a": [1]}]}, BadRequest, "one value each for a, b"),
    "a number beyond FP16": (predictor("x FP16 -1,1"), read_predict, {"instances": [[1e6]]}, BadRequest, "the range of FP16"),
}


@pytest.mark.parametrize(("asked", "read", "body", "error", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(asked: TensorPredictor, read: Read, body: Any, error: type[WindlassError], reason: str) -> None:
    with pytest.raises(error) as refusal:
        read(asked, orjson.dumps(body), {})
    assert reason in refusal.value.message


def test_a_bound_refuses_what_is_no_number() -> None:
    bounded = predictor("x FP32 -1", x={"minimum": 0})
    with pytest.raises(BadData, match=r"the value at \[1\] is nan, but it must be at least 0"):
        read_infer(bounded, np.array([1, np.nan], "<f4").tobytes(), {LENGTH_KEY: b"0"})


def test_text_that_is_not_utf_8_is_refused() -> None:
    texts = predictor("t BYTES -1")
    header = orjson.dumps({"inputs": [{"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]})
    with pytest.raises(BadRequest, match="BYTES value 0 is not UTF-8"):
        read_infer(texts, header + b"\x01\0\0\0\xff", {LENGTH_KEY: str(len(header)).encode()})


@pytest.mark.parametrize(
    ("inputs", "content", "reason"),
    [
        ("x BOOL -1", {"x": {"minimum": 0}}, "bounds the values of input 'x', which is BOOL"),
        ("x FP32 -1,2", {"image": {}}, "the program's input is no picture"),
        ("x FP32 -1,3,4,4", {"image": {"mean": [0, 0]}}, "another number of channels than the 3"),
    ],
    ids=["bounds of what is no number", "scales of what is no picture", "scales of other channels"],
)
def test_a_manifest_that_does_not_fit_is_not_served(inputs: str, content: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        predictor(inputs, **content)


def png(size: tuple[int, int]) -> bytes:
    written = BytesIO()
    Image.new("RGB", size, (255, 0, 51)).save(written, "PNG")
    return written.getvalue()


@pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("read", [read_predict, read_infer])
def test_a_picture_is_one_row(channels_last: bool, read: Read) -> None:
    shape = "-1,2,2,3" if channels_last else "-1,3,2,2"
    row = np.tile(np.array([1, 0, 0.2]), (2, 2, 1))
    question = read(predictor(f"x FP32 {shape}"), png((2, 2)), {b"content-type": b"image/png"})
    np.testing.assert_allclose(question.inputs["x"][0], row if channels_last else row.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "taken"),
    [
        ("x FP32 -1,2", ["application/json", "application/x-npy", "application/octet-stream"]),
        ("x BYTES -1", ["application/json"]),
        ("a FP32 -1; b FP32 -1", ["application/json"]),
        ("x FP32 -1,3,8,8", ["application/json", "application/x-npy", "application/octet-stream", "image/png", "image/jpeg"]),
        ("x INT64 -1,3,8,8", ["application/json", "application/x-npy", "application/octet-stream"]),
    ],
)
def test_a_type_that_the_model_does_not_take_is_refused_with_those_that_it_takes(inputs: str, taken: list[str]) -> None:
    with pytest.raises(UnsupportedMedia) as refusal:
        read_predict(predictor(inputs), b"", {b"content-type": b"text/csv; charset=utf-8"})
    assert refusal.value.message == f"this model takes bodies of the types {', '.join(taken)}, not 'text/csv'"


def test_an_answer_can_be_an_array() -> None:
    two = predictor("x FP32 -1,2", "y FP32 -1,2; z FP32 -1,2")
    for accept, expected in ((b"application/x-npy", [[2, 4]]), (b"text/html, application/x-npy; output=z", [[1, 2]])):
        headers = {b"accept": accept, b"content-type": b"application/x-npy"}
        written = BytesIO()
        np.save(written, np.array([[1, 2]], np.float32))
        encoded = ask(two, read_predict, written.getvalue(), lambda i: {"y": 2 * i["x"], "z": i["x"]}, headers)
        assert encoded.headers == {"Content-Type": "application/x-npy"}
        assert np.load(BytesIO(encoded.body)).tolist() == expected
    with pytest.raises(BadRequest, match="output 'w' of the Accept header is not one of y, z"):
        ask(two, read_predict, {"instances": [[1, 2]]}, doubled, {b"accept": b"application/x-npy; output=w"})


EVERY_KIND = [
    "x FP32 -1,2",
    "x FP16 -1,2",
    "x BF16 -1,2",
    "x BOOL -1",
    "x BYTES -1,2",
    "ids INT64 -1,-1; mask UINT8 -1,-1",
    "x FP32 -1,3,8,8",
    "x UINT8 -1,-1,-1,4",
    "x FP32 -1,3,224,224",
]


@pytest.mark.parametrize("inputs", EVERY_KIND)
def test_every_example_is_read_as_the_row_that_it_is(inputs: str) -> None:
    asked = predictor(inputs)
    expected = asked.example_arrays(1)
    for read, examples in ((read_predict, predict_examples(asked)), (read_infer, infer_examples(asked))):
        assert examples
        for example in examples:
            headers = {b"content-type": example.media_type.encode()}
            headers |= {name.lower().encode(): value.encode() for name, value in example.headers.items()}
            question = read(asked, example.body, headers)
            assert question.rows == 1
            if not example.media_type.startswith("image/"):
                for name, values in question.inputs.items():
                    # BF16 has two digits and a half.
                    close = (
                        values == expected[name] if values.dtype == object else np.isclose(values, expected[name], rtol=0.01)
                    )
                    assert close.all()
    assert len(orjson.dumps(inference_paths(asked))) < 200_000


def test_examples_respect_the_bounds() -> None:
    bounded = predictor("x INT64 -1,3", x={"minimum": 5, "maximum": 9})
    assert set(bounded.example_tensors(2)[0].values.ravel().tolist()) == {5}
