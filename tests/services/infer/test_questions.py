"""From a body to a body through a real program: the answers are those of the same sums in numpy, in every form of asking."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from windlass_core.errors import BadData, WindlassError
from windlass_infer.datatypes import DATATYPES, Tensor
from windlass_infer.encoding import encode_request
from windlass_infer.engine import Arrays
from windlass_infer.errors import BadRequest, PredictionNotFinite
from windlass_infer.loader import LoadedModel, load
from windlass_infer.protocol import HEADER_LENGTH, Encoded, InferRequest
from windlass_infer.questions import Read, read_infer, read_predict

ROWS: dict[str, list[dict[str, Any]]] = {
    "numbers": [{"a": 1.5, "b": -2, "c": 7}, {"a": 9, "b": 0.25, "c": 0}, {"a": -3.5, "b": 11, "c": 5}],
    "mixed": [
        {"island": "Dream", "mass": 3750.5, "ringed": True, "seen": "2008-11-01", "year": 2008},
        {"island": "Biscoe", "mass": None, "ringed": False, "seen": "2007-01-31", "year": 1999},
    ],
    "quantity": [{"rooms": 3, "area": 82.5}, {"rooms": 1, "area": 20}],
}
LABELS: dict[str, list[Any]] = {"numbers": [8, 3, 5], "mixed": ["Adélie", "Gentoo"]}


class Asked:
    """A loaded example, asked without a server."""

    def __init__(self, name: str, example: Any, loaded: LoadedModel) -> None:
        self.name = name
        self.example = example
        self.rows = ROWS[name]
        self.loaded = loaded

    def ask(self, read: Read, body: bytes | dict[str, Any], headers: dict[bytes, bytes] | None = None) -> Encoded:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        question = read(self.loaded.predictor, content, headers or {})
        return question.answer(self.loaded.engine.run(question.inputs))

    def predict(self, rows: list[Any]) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(self.ask(read_predict, {"instances": rows}).body)
        return answer

    def expected(self) -> Any:
        return self.example.expected(self.rows)


@pytest.fixture(scope="module")
def load_example(
    make_shelf: Callable[[], Any], examples: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Asked]:
    def load_one(name: str) -> Asked:
        shelf = make_shelf()
        version = shelf.publish(examples[name])
        return Asked(name, examples[name], load(shelf.spec(version), shelf.store, tmp_path_factory.mktemp("program")))

    return load_one


@pytest.fixture(scope="module", params=["numbers", "mixed", "quantity"])
def asked(request: pytest.FixtureRequest, load_example: Callable[[str], Asked]) -> Asked:
    return load_example(request.param)


@pytest.fixture(scope="module")
def numbers(load_example: Callable[[str], Asked]) -> Asked:
    return load_example("numbers")


@pytest.fixture(scope="module")
def mixed(load_example: Callable[[str], Asked]) -> Asked:
    return load_example("mixed")


def check(asked: Asked, answer: dict[str, Any]) -> None:
    if asked.name == "quantity":
        assert answer["predictions"] == pytest.approx(asked.expected()[:, 0].tolist(), rel=1e-5)
        assert "probabilities" not in answer
        assert "classes" not in answer
    else:
        assert answer["predictions"] == LABELS[asked.name]
        assert answer["classes"] == asked.example.classes
        np.testing.assert_allclose(answer["probabilities"], asked.expected(), rtol=1e-5)
    version = asked.loaded.predictor.version
    assert answer["model"] == {"name": "service", "version": 1, "digest": version.digest}


def test_rows_by_column_name_are_predicted(asked: Asked) -> None:
    check(asked, asked.predict(asked.rows))


def test_rows_by_column_name_may_have_any_order(asked: Asked) -> None:
    check(asked, asked.predict([dict(reversed(row.items())) for row in asked.rows]))


def test_rows_as_lists_are_predicted(asked: Asked) -> None:
    check(asked, asked.predict([list(row.values()) for row in asked.rows]))


def tensors(asked: Asked) -> list[dict[str, Any]]:
    """The rows as V2 JSON inputs."""
    if asked.name != "mixed":
        data = [list(row.values()) for row in asked.rows]
        return [{"name": "features", "datatype": "FP64", "shape": [len(data), len(data[0])], "data": data}]
    types = {"island": "BYTES", "mass": "FP32", "ringed": "BOOL", "seen": "BYTES", "year": "INT16"}
    # JSON tensors have no value for what is missing: the fill value stands for itself.
    columns = {name: [4000 if row[name] is None else row[name] for row in asked.rows] for name in types}
    return [
        {"name": name, "datatype": datatype, "shape": [len(asked.rows)], "data": columns[name]}
        for name, datatype in types.items()
    ]


def test_tensors_as_json_are_inferred(asked: Asked) -> None:
    answer = orjson.loads(asked.ask(read_infer, {"id": "7", "inputs": tensors(asked)}).body)
    assert {key: answer[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "service",
        "model_version": "1",
        "id": "7",
    }
    outputs = {output["name"]: output for output in answer["outputs"]}
    name, shape = ("prediction", [2]) if asked.name == "quantity" else ("probabilities", list(asked.expected().shape))
    assert outputs[name]["shape"] == shape
    np.testing.assert_allclose(outputs[name]["data"], asked.expected().ravel(), rtol=1e-5)
    if asked.name != "quantity":
        assert outputs["label"] == {
            "name": "label",
            "datatype": {"numbers": "INT64", "mixed": "BYTES"}[asked.name],
            "shape": [len(asked.rows)],
            "data": LABELS[asked.name],
        }


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT32", "INT64", "UINT8", "UINT64"])
def test_numbers_of_every_width_are_taken_as_binary_data(numbers: Asked, datatype: str) -> None:
    values = np.array([[1, 2, 9], [9, 0, 0]], dtype=DATATYPES[datatype].dtype)
    request = encode_request(InferRequest((Tensor("features", datatype, values),), binary_by_default=True), binary=True)
    answer = numbers.ask(read_infer, request.body, {HEADER_LENGTH.lower().encode(): request.headers[HEADER_LENGTH].encode()})
    length = int(answer.headers[HEADER_LENGTH])
    label, shares = orjson.loads(answer.body[:length])["outputs"]
    assert np.frombuffer(answer.body[length:][:16], "<i8").tolist() == [8, 3]
    assert (label["parameters"], shares["parameters"]) == ({"binary_data_size": 16}, {"binary_data_size": 24})
    np.testing.assert_allclose(
        np.frombuffer(answer.body[length + 16 :], "<f4").reshape(2, 3),
        numbers.example.expected(values.astype(np.float64).tolist()),
        rtol=1e-5,
    )


def test_a_body_of_raw_values_is_inferred(numbers: Asked) -> None:
    body = np.array([[1, 2, 9]], dtype="<f4").tobytes()
    answer = numbers.ask(read_infer, body, {HEADER_LENGTH.lower().encode(): b"0"})
    assert struct.unpack_from("<q", answer.body, int(answer.headers[HEADER_LENGTH]))[0] == 8


def test_only_the_outputs_asked_for_are_given(numbers: Asked) -> None:
    request = {"inputs": tensors(numbers), "outputs": [{"name": "label"}]}
    assert [output["name"] for output in orjson.loads(numbers.ask(read_infer, request).body)["outputs"]] == ["label"]


def test_the_example_of_the_documentation_is_answered(asked: Asked) -> None:
    assert len(asked.predict(asked.loaded.predictor.example_instances(1))["predictions"]) == 1
    body = encode_request(InferRequest(tuple(asked.loaded.predictor.example_tensors(1))), binary=False).body
    assert len(orjson.loads(asked.ask(read_infer, body).body)["outputs"]) == len(asked.loaded.predictor.outputs)


GOOD = [1, 2, 3]
PREDICT_REFUSED: dict[str, tuple[Any, type[WindlassError], str]] = {
    "no instances": ({}, BadRequest, '"instances" must be a list of at least one row'),
    "instances that are no list": ({"instances": {"a": 1}}, BadRequest, "must be a list of at least one row"),
    "an empty list": ({"instances": []}, BadRequest, "must be a list of at least one row"),
    "a field that is not known": ({"instances": [GOOD], "signature": 1}, BadRequest, "the field 'signature' is unknown"),
    "no JSON at all": (b"instances=1", BadRequest, "not JSON"),
    "NaN, which JSON has not": (b'{"instances": [[1, NaN, 3]]}', BadRequest, "not JSON"),
    "a row that is a number": ({"instances": [GOOD, 4]}, BadData, "row 1 (counted from 0): expected an object"),
    "a row that is text": ({"instances": ["123"]}, BadData, "expected an object of named columns or a list of values, not str"),
    "a row that is too short": ({"instances": [GOOD, [1, 2]]}, BadData, "row 1 (counted from 0): has 2 values"),
    "a row that is too long": ({"instances": [[1, 2, 3, 4]]}, BadData, "has 4 values, but there are 3 columns: a, b, c"),
    "a column that is missing": ({"instances": [{"a": 1, "b": 2}]}, BadData, "row 0 (counted from 0): missing: column c"),
    "a column that is unknown": ({"instances": [{"a": 1, "b": 2, "c": 3, "d": 4}]}, BadData, "column 'd' is unknown"),
    "the label among the columns": (
        {"instances": [{"a": 1, "b": 2, "c": 3, "digit": 5}]},
        BadData,
        "'digit' is the label, which is what the model predicts",
    ),
    "text where a number belongs": ({"instances": [GOOD, [1, "x", 3]]}, BadData, "row 1 (counted from 0), column 'b'"),
    "a truth value where a number belongs": ({"instances": [[1, True, 3]]}, BadData, "column 'b': expected a number, not true"),
    "nothing where a number belongs": ({"instances": [[1, None, 3]]}, BadData, "column 'b': has no value"),
    "a fraction where an integer belongs": ({"instances": [[1, 2, 3.5]]}, BadData, "column 'c': expected an integer, not 3.5"),
    "a list where a number belongs": ({"instances": [[1, [2], 3]]}, BadData, "column 'b': expected a number"),
    "a number too large to compute with": ({"instances": [[1e300, 2, 3]]}, BadData, "column 'a': the number is too large"),
}


@pytest.mark.parametrize(("body", "error", "reason"), PREDICT_REFUSED.values(), ids=PREDICT_REFUSED)
def test_predict_refuses(numbers: Asked, body: Any, error: type[WindlassError], reason: str) -> None:
    with pytest.raises(error) as refusal:
        numbers.ask(read_predict, body)
    assert reason in refusal.value.message


def tensor(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": GOOD} | fields]}


INFER_REFUSED: dict[str, tuple[Any, type[WindlassError], str]] = {
    "an input that the model has not": (tensor(name="a"), BadRequest, "input 'a' is not one of features"),
    "text where numbers belong": (
        tensor(datatype="BYTES", data=["1", "2", "3"]),
        BadRequest,
        "'features' takes numbers, for example FP32, not BYTES",
    ),
    "truth values where numbers belong": (tensor(datatype="BOOL", data=[True] * 3), BadRequest, "takes numbers"),
    "another width": (tensor(shape=[1, 2], data=[1, 2]), BadRequest, "has shape [1, 2]; it must be [rows, 3]"),
    "a row without a batch": (tensor(shape=[3]), BadRequest, "has shape [3]; it must be [rows, 3]"),
    "no row": (tensor(shape=[0, 3], data=[]), BadRequest, "with at least one row"),
    "an output that the model has not": (
        tensor() | {"outputs": [{"name": "logits"}]},
        BadRequest,
        "output 'logits' is not one of",
    ),
    "a fraction where an integer belongs": (tensor(data=[1, 2, 3.5]), BadData, "column 'c': expected an integer, not 3.5"),
    "a number too large to compute with": (
        tensor(datatype="FP64", data=[1e300, 2, 3]),
        BadData,
        "column 'a': the number is too large",
    ),
}


@pytest.mark.parametrize(("body", "error", "reason"), INFER_REFUSED.values(), ids=INFER_REFUSED)
def test_infer_refuses(numbers: Asked, body: Any, error: type[WindlassError], reason: str) -> None:
    with pytest.raises(error) as refusal:
        numbers.ask(read_infer, body)
    assert reason in refusal.value.message


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "has no value"), (np.inf, "infinity")], ids=["NaN", "infinity"])
def test_infer_refuses_binary_values_that_are_not_finite(numbers: Asked, value: float, reason: str) -> None:
    body = np.array([1, value, 3], dtype="<f4").tobytes()
    with pytest.raises(BadData) as refusal:
        numbers.ask(read_infer, body, {HEADER_LENGTH.lower().encode(): b"0"})
    assert f"row 0 (counted from 0), column 'b': {reason}" in refusal.value.message


def change(inputs: list[dict[str, Any]], name: str, **fields: Any) -> list[dict[str, Any]]:
    return [entry | fields if entry["name"] == name else entry for entry in inputs]


MIXED_REFUSED: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], type[WindlassError], str]] = {
    "a column that is missing": (lambda inputs: inputs[1:], BadRequest, "input 'island' is missing"),
    "numbers where text belongs": (
        lambda inputs: change(inputs, "island", datatype="INT8", data=[1, 2]),
        BadRequest,
        "input 'island' takes BYTES, not INT8",
    ),
    "text where numbers belong": (
        lambda inputs: change(inputs, "mass", datatype="BYTES", data=["1", "2"]),
        BadRequest,
        "input 'mass' takes numbers, not BYTES",
    ),
    "a matrix where a column belongs": (
        lambda inputs: change(inputs, "mass", shape=[1, 2]),
        BadRequest,
        "'mass' has shape [1, 2]; it must be [rows] or [rows, 1]",
    ),
    "columns of different lengths": (
        lambda inputs: change(inputs, "mass", shape=[1], data=[1]),
        BadData,
        "column 'mass' has 1 rows",
    ),
    "an unknown category": (
        lambda inputs: change(inputs, "island", data=["Dream", "Mars"]),
        BadData,
        "row 1 (counted from 0), column 'island': 'Mars' is not among those of the data: Biscoe, Dream",
    ),
    "a date that is none": (
        lambda inputs: change(inputs, "seen", data=["2007-02-30", "2007-01-01"]),
        BadData,
        "row 0 (counted from 0), column 'seen': expected a date",
    ),
}


@pytest.mark.parametrize(("changed", "error", "reason"), MIXED_REFUSED.values(), ids=MIXED_REFUSED)
def test_infer_by_columns_refuses(
    mixed: Asked, changed: Callable[[list[dict[str, Any]]], Any], error: type[WindlassError], reason: str
) -> None:
    with pytest.raises(error) as refusal:
        mixed.ask(read_infer, {"inputs": changed(tensors(mixed))})
    assert reason in refusal.value.message


def test_columns_may_be_of_one_dimension_or_two(mixed: Asked) -> None:
    flat = mixed.ask(read_infer, {"inputs": tensors(mixed)})
    standing = mixed.ask(read_infer, {"inputs": [entry | {"shape": [2, 1]} for entry in tensors(mixed)]})
    assert flat == standing


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["NaN", "infinity"])
def test_an_answer_that_is_not_finite_is_an_error_that_names_the_row(numbers: Asked, bad: float) -> None:
    outputs: Arrays = {"probabilities": np.array([[0.1, 0.2, 0.7], [0.1, bad, 0.2]], dtype=np.float32)}
    question = read_predict(numbers.loaded.predictor, orjson.dumps({"instances": [GOOD, GOOD]}), {})
    with pytest.raises(PredictionNotFinite, match="row 1"):
        question.answer(outputs)


def test_signatures_of_a_model_of_numbers_are_one_tensor(numbers: Asked, mixed: Asked) -> None:
    assert [(entry.name, entry.datatype, entry.shape) for entry in numbers.loaded.predictor.inputs] == [
        ("features", "FP32", (-1, 3))
    ]
    assert [(entry.name, entry.datatype, entry.shape) for entry in mixed.loaded.predictor.inputs] == [
        ("island", "BYTES", (-1, 1)),
        ("mass", "FP64", (-1, 1)),
        ("ringed", "BOOL", (-1, 1)),
        ("seen", "BYTES", (-1, 1)),
        ("year", "INT64", (-1, 1)),
    ]
