"""Whatever is asked, by anybody: an answer or a refusal with a sentence, never an error that was not foreseen."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from infer_cases import PREDICT, Cases
from infer_models import small_models

from windlass_core.errors import WindlassError
from windlass_infer.errors import BadRequest
from windlass_infer.grpc import messages
from windlass_infer.grpc.open_inference_pb2 import ModelInferRequest
from windlass_infer.loader import LoadedModel, load
from windlass_infer.protocol import HEADER_LENGTH
from windlass_infer.questions import Question, Read, read_infer, read_predict

# One model for all the examples of a test, and no failure for a busy machine.
SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# `make fuzz` asks a server a hundred thousand.
SEED, HTTP_CASES, GRPC_CASES = 7, 600, 300
LENGTH_KEY = HEADER_LENGTH.lower().encode()
NAMES = ["features", "island", "mass", "ringed", "seen", "year", "a", "b", "c", "label", "probabilities"]
DATATYPES = ["BOOL", "BYTES", "FP16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT64"]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["Biscoe", "Dream", "2008-01-31", "2008-02-31", "0001-01-01", "9999-12-31", 2007])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=10,
)
ROWS = st.one_of(
    st.lists(SCALARS, min_size=3, max_size=5),
    st.fixed_dictionaries(dict.fromkeys(("a", "b", "c"), SCALARS)),
    st.fixed_dictionaries(dict.fromkeys(("island", "mass", "ringed", "seen", "year"), SCALARS)),
    VALUES,
)


@pytest.fixture(scope="module", params=["numbers", "mixed"])
def loaded(
    request: pytest.FixtureRequest,
    make_shelf: Callable[[], Any],
    examples: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> LoadedModel:
    shelf = make_shelf()
    spec = shelf.spec(shelf.publish(examples[request.param]))
    return load(spec, shelf.store, tmp_path_factory.mktemp("program"))


def answered_or_refused(loaded: LoadedModel, read: Read, body: bytes, headers: dict[bytes, bytes] | None = None) -> None:
    """Any exception but a refusal of the request fails the test."""
    try:
        question = read(loaded.predictor, body, headers or {})
        status = 200 if question.answer(loaded.engine.run(question.inputs)).body else 0
    except WindlassError as refusal:
        status = refusal.http_status if refusal.message else 0
    assert status in (200, 400, 422)


@SHARED
@given(rows=st.lists(ROWS, max_size=4) | VALUES)
def test_instances_of_any_make(loaded: LoadedModel, rows: Any) -> None:
    answered_or_refused(loaded, read_predict, orjson.dumps({"instances": rows}))


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    width = draw(st.sampled_from([1, 3]))
    count = draw(st.integers(0, 3))
    return {
        "name": draw(st.sampled_from(NAMES)),
        "datatype": draw(st.sampled_from(DATATYPES)),
        "shape": draw(st.sampled_from([[count, width], [count], [count, 1]]) | st.lists(st.integers(-1, 4), max_size=4)),
        "data": draw(st.lists(SCALARS, min_size=count * width, max_size=count * width) | VALUES),
    }


@SHARED
@given(inputs=st.lists(tensors(), max_size=6), outputs=VALUES)
def test_tensors_of_any_make(loaded: LoadedModel, inputs: list[dict[str, Any]], outputs: Any) -> None:
    answered_or_refused(loaded, read_infer, orjson.dumps({"inputs": inputs}))
    answered_or_refused(loaded, read_infer, orjson.dumps({"inputs": inputs, "outputs": outputs, "parameters": outputs}))


@SHARED
@given(data=st.data())
def test_binary_tensors_of_any_bits(loaded: LoadedModel, data: st.DataObject) -> None:
    inputs, raw = [], b""
    for signature in loaded.predictor.inputs:
        datatype = data.draw(st.sampled_from(DATATYPES))
        width = abs(signature.shape[1])
        piece = data.draw(st.binary(min_size=width, max_size=8 * width))
        shape = data.draw(st.sampled_from([[1, width], [2, width], [len(piece)], [len(piece) // 8, width]]))
        size = {"binary_data_size": len(piece) + data.draw(st.sampled_from([0, 0, 0, -1, 1]))}
        inputs.append({"name": signature.name, "datatype": datatype, "shape": shape, "parameters": size})
        raw += piece
    header = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    length = str(len(header) + data.draw(st.sampled_from([0, 0, 0, 1, -1]))).encode()
    answered_or_refused(loaded, read_infer, header + raw, {LENGTH_KEY: length})


@SHARED
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_raw_values_of_any_bits(loaded: LoadedModel, values: list[float]) -> None:
    with np.errstate(over="ignore"):
        body = np.array(values, dtype="<f4").tobytes()
    answered_or_refused(loaded, read_infer, body, {LENGTH_KEY: b"0"})


@SHARED
@given(body=st.binary(max_size=100), length=st.none() | st.binary(max_size=4))
def test_bytes_of_any_make(loaded: LoadedModel, body: bytes, length: bytes | None) -> None:
    answered_or_refused(loaded, read_predict, body)
    answered_or_refused(loaded, read_infer, body, {} if length is None else {LENGTH_KEY: length})


@pytest.fixture(scope="module", params=small_models())
def small(
    request: pytest.FixtureRequest, make_shelf: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory
) -> LoadedModel:
    shelf = make_shelf()
    published = small_models()[request.param].publish(shelf.store, "penguins", tmp_path_factory.mktemp("files"))
    return load(shelf.spec(published), shelf.store, tmp_path_factory.mktemp("program"))


def test_a_good_request_that_is_damaged_is_answered_or_refused(small: LoadedModel) -> None:
    statuses: Counter[int] = Counter()
    for case in islice(Cases(small.predictor, SEED).http(), HTTP_CASES):
        headers = {name.lower().encode(): value.encode("utf-8") for name, value in case.headers.items()}
        read = read_predict if case.call == PREDICT else read_infer
        statuses[status_of(lambda read=read, case=case, headers=headers: read(small.predictor, case.body, headers), small)] += 1
    assert set(statuses) <= {200, 400, 413, 415, 422}
    # Both are seen, or the cases would prove nothing.
    assert statuses[200] > HTTP_CASES / 20
    assert statuses[400] > HTTP_CASES / 20


def test_a_good_message_that_is_damaged_is_answered_or_refused(small: LoadedModel) -> None:
    statuses: Counter[int] = Counter()

    def question(body: bytes) -> Question:
        try:
            message = ModelInferRequest.FromString(body)
        except DecodeError:
            raise BadRequest("as the server says") from None
        return messages.question(small.predictor, message)

    for body in islice(Cases(small.predictor, SEED).grpc("service"), GRPC_CASES):
        statuses[status_of(lambda body=body: question(body), small)] += 1
    assert set(statuses) <= {200, 400, 422}
    assert min(statuses[200], statuses[400]) > GRPC_CASES / 20


def status_of(ask: Callable[[], Question], small: LoadedModel) -> int:
    """What the server would answer with; any exception but a refusal fails the test."""
    try:
        question = ask()
        with np.errstate(all="ignore"):
            return 200 if question.answer(small.engine.run(question.inputs)).body else 0
    except WindlassError as error:
        refusal = error
    assert len(refusal.message) < 1000
    return refusal.http_status
