"""The protocol over gRPC: messages read and written as over HTTP, calls bounded, refused by their codes, and drained."""

import signal
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from windlass_core.errors import BadConfiguration, Conflict, NotFound, Unavailable, WindlassError
from windlass_infer.datatypes import DATATYPES, Tensor, texts, to_bytes
from windlass_infer.errors import (
    BadRequest,
    DeadlineExceeded,
    Overloaded,
    PredictionFailed,
    PredictionNotFinite,
    RequestTimeout,
    TooLarge,
)
from windlass_infer.grpc import generate, messages
from windlass_infer.grpc import open_inference_pb2 as wire
from windlass_infer.grpc.server import SERVICE
from windlass_infer.grpc.statuses import code_of
from windlass_infer.intake import MAX_BODY_BYTES
from windlass_infer.predictor import ServedVersion

SECONDS = 20.0
VERSION = ServedVersion("service", 1, "sha256:00", "penguins")
TYPED = sorted(messages.FIELDS)


def test_the_made_messages_are_current() -> None:
    assert generate.main(["--check"]) == 0


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str]) -> Tensor:
    datatype = DATATYPES[draw(st.sampled_from(datatypes))]
    shape = draw(npst.array_shapes(max_dims=3, max_side=4))
    if datatype.dtype is None:
        count = int(np.prod(shape))
        values = np.array(draw(st.lists(st.text(max_size=4), min_size=count, max_size=count)), dtype=object).reshape(shape)
    else:
        values = draw(npst.arrays(datatype.dtype, shape))
    if datatype.name == "BF16":
        values = (values.view("<u4") & np.uint32(0xFFFF0000)).view("<f4")
    return Tensor(draw(st.text(min_size=1, max_size=4)), datatype.name, values)


def request_of(answer: wire.ModelInferResponse) -> wire.ModelInferRequest:
    """The request that has as inputs what an answer has as outputs: both are the same on the wire."""
    request = wire.ModelInferRequest(raw_input_contents=answer.raw_output_contents)
    for output in answer.outputs:
        request.inputs.add().ParseFromString(output.SerializeToString())
    return request


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data(), raw=st.booleans())
def test_tensors_are_read_as_they_were_written(data: st.DataObject, raw: bool) -> None:
    written = data.draw(st.lists(tensors(sorted(DATATYPES)), min_size=1, max_size=3, unique_by=lambda one: one.name))
    answer = messages.infer_response(written, VERSION, "q", raw=raw)
    assert (answer.model_name, answer.model_version, answer.id) == ("service", "1", "q")
    assert bool(answer.raw_output_contents) == (raw or any(tensor.datatype not in TYPED for tensor in written))
    for before, after in zip(written, messages.infer_request(request_of(answer)).inputs, strict=True):
        assert (after.name, after.datatype) == (before.name, before.datatype)
        if before.datatype == "BYTES":
            np.testing.assert_array_equal(texts(after), before.values)
        else:
            assert bytes(to_bytes(after)) == bytes(to_bytes(before))  # bit for bit, NaN too


def asked(**fields: Any) -> wire.ModelInferRequest:
    """A request for one input of two FP32 values."""
    entry: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [2], "contents": {"fp32_contents": [1, 2]}}
    message = {name: fields.pop(name) for name in list(fields) if name in wire.ModelInferRequest.DESCRIPTOR.fields_by_name}
    request = wire.ModelInferRequest(**message)
    if "inputs" not in message:
        request.inputs.add(**(entry | fields))
    return request


RAW = {"contents": None, "raw_input_contents": [struct.pack("<2f", 1, 2)]}
REFUSED: dict[str, tuple[wire.ModelInferRequest, str]] = {
    "no inputs": (asked(inputs=[]), "inputs is empty"),
    "an input without a name": (asked(name=""), "an input has no name"),
    "two inputs of one name": (asked(inputs=[{"name": "x"}] * 2), "two inputs have the same name"),
    "an unknown datatype": (asked(datatype="FLOAT"), "'FLOAT' is not one of BOOL"),
    "no shape": (asked(shape=[]), "shape must be a list of 1 to 8"),
    "a negative shape": (asked(shape=[-2]), "whole numbers from 0"),
    "dimensions whose product overflows": (asked(shape=[2**31 - 1] * 8), "takes "),
    "too few values": (asked(shape=[3]), "takes 3 values, but fp32_contents has 2"),
    "values in another field": (asked(datatype="INT64"), "INT64 goes in int64_contents, not in fp32_contents"),
    "values in two fields": (asked(contents={"fp32_contents": [1, 2], "int_contents": [1]}), "not in int_contents"),
    "typed contents of 16-bit floats": (asked(datatype="FP16"), "FP16 has no typed contents"),
    "a number beyond its datatype": (asked(datatype="INT8", contents={"int_contents": [1, 128]}), "beyond the range of INT8"),
    "a negative number beyond its datatype": (
        asked(datatype="INT16", contents={"int_contents": [1, -(2**20)]}),
        "the range of INT16",
    ),
    "contents of both forms": (asked(raw_input_contents=[b"\0" * 8]), "but the request has raw_input_contents"),
    "raw contents of other inputs": (asked(**RAW | {"raw_input_contents": [b"", b""]}), "but 2 raw_input_contents"),
    "raw contents that are short": (asked(**RAW | {"raw_input_contents": [b"\0" * 7]}), "takes 8 bytes, but 7 were sent"),
    "shared memory": (asked(parameters={"shared_memory_region": {"string_param": "r"}}), "shared memory is not supported"),
}


@pytest.mark.parametrize(("message", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_message_is_refused_for(message: wire.ModelInferRequest, reason: str) -> None:
    if reason.startswith("shared"):  # a parameter of the input, which `asked` gives to the request
        message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(BadRequest) as refusal:
        messages.infer_request(message)
    assert reason in refusal.value.message


def test_fields_of_later_releases_beside_the_values_are_passed_over() -> None:
    message = asked()
    later = message.inputs[0].contents.SerializeToString() + b"\xfa\x01\x03abc"  # field 31, three bytes
    message.inputs[0].contents.ParseFromString(later)
    assert messages.infer_request(message).inputs[0].values.tolist() == [1, 2]


def test_parameters_of_all_kinds_are_read() -> None:
    message = asked(id="q")
    message.parameters["timeout"].int64_param = 2_000_000
    message.parameters["priority"].uint64_param = 3
    message.parameters["mine"].double_param = 0.5
    message.parameters["empty"].SetInParent()
    message.outputs.add(name="y").parameters["classification"].int64_param = 4
    request = messages.infer_request(message)
    assert (request.timeout_seconds, request.priority, request.id) == (2.0, 3, "q")
    assert request.outputs is not None
    assert (request.outputs[0].name, request.outputs[0].classes) == ("y", 4)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("x"), "INVALID_ARGUMENT"),
        (PredictionNotFinite("x"), "INVALID_ARGUMENT"),
        (BadConfiguration("x"), "INVALID_ARGUMENT"),
        (NotFound("x"), "NOT_FOUND"),
        (Conflict("x"), "ABORTED"),
        (TooLarge("x"), "RESOURCE_EXHAUSTED"),
        (Overloaded("x"), "RESOURCE_EXHAUSTED"),
        (RequestTimeout("x"), "DEADLINE_EXCEEDED"),
        (DeadlineExceeded("x"), "DEADLINE_EXCEEDED"),
        (Unavailable("x"), "UNAVAILABLE"),
        (PredictionFailed("x"), "INTERNAL"),
        (WindlassError("x"), "INTERNAL"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, WindlassError) else value,
)
def test_an_error_has_a_code(error: WindlassError, code: str) -> None:
    assert code_of(error).name == code


@pytest.fixture(scope="module")
def running(examples: dict[str, Any], serve_example: Callable[..., Any]) -> Iterator[Any]:
    with serve_example(examples["numbers"]) as server:
        yield server


@pytest.fixture
def call(running: Any) -> Iterator[Callable[..., Any]]:
    """Makes a call by its name with a message, or with bytes."""
    with grpc.insecure_channel(running.grpc_address, [("grpc.max_send_message_length", -1)]) as channel:

        def make(name: str, message: Any = b"", answer: Any = None, service: str = SERVICE, **options: Any) -> Any:
            body = message if isinstance(message, bytes) else message.SerializeToString()
            reply, made = channel.unary_unary(f"/{service}/{name}").with_call(body, timeout=SECONDS, **options)
            assert dict(made.trailing_metadata() or ()).get("x-model-version") in (None, "1")
            return answer.FromString(reply) if answer else reply

        yield make


def question(rows: Any = ((1, 2, 9),), **fields: Any) -> wire.ModelInferRequest:
    values = np.array(rows, dtype=np.float32)
    message = wire.ModelInferRequest(model_name="service", **fields)
    contents = {"fp32_contents": values.ravel().tolist()}
    message.inputs.add(name="features", datatype="FP32", shape=values.shape, contents=contents)
    return message


def test_typed_contents_are_answered_with_typed_contents(call: Callable[..., Any]) -> None:
    answer = call("ModelInfer", question(), wire.ModelInferResponse)
    assert list(answer.outputs[0].contents.int64_contents) == [8]
    assert len(answer.outputs[1].contents.fp32_contents) == 3
    assert not answer.raw_output_contents


def test_the_server_says_what_it_is(call: Callable[..., Any]) -> None:
    assert call("ServerLive", answer=wire.ServerLiveResponse).live
    assert call("ServerReady", answer=wire.ServerReadyResponse).ready
    assert call("ServerMetadata", answer=wire.ServerMetadataResponse).name == "windlass-infer"
    assert call("ModelReady", wire.ModelReadyRequest(name="service"), wire.ModelReadyResponse).ready
    described = call("ModelMetadata", wire.ModelMetadataRequest(name="service"), wire.ModelMetadataResponse)
    assert [(one.name, list(one.shape)) for one in described.outputs] == [("label", [-1]), ("probabilities", [-1, 3])]


def late() -> wire.ModelInferRequest:
    message = question()
    message.parameters["timeout"].int64_param = 1
    return message


CODES: dict[str, tuple[str, Any, str, str]] = {
    "bytes that are no message": ("ModelInfer", b"\xff\xff\xff", "INVALID_ARGUMENT", "the message is no ModelInferRequest"),
    "a model that is not there": ("ModelReady", wire.ModelReadyRequest(name="x"), "NOT_FOUND", "'x'"),
    "a version that is not there": ("ModelMetadata", wire.ModelMetadataRequest(name="service", version="9"), "NOT_FOUND", "9"),
    "an output that is not there": (
        "ModelInfer",
        question(outputs=[{"name": "z"}]),
        "INVALID_ARGUMENT",
        "output 'z' is not one of",
    ),
    "a value that cannot be computed with": ("ModelInfer", question([[1, 2, 3.5]]), "INVALID_ARGUMENT", "column 'c'"),
    "a call that is not there": ("ModelStreamInfer", b"", "UNIMPLEMENTED", ""),
    "a time that cannot be met": ("ModelInfer", late(), "DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED", ""),
    "a message beyond the bound": ("ModelInfer", b"\0" * (2 * MAX_BODY_BYTES), "RESOURCE_EXHAUSTED", ""),
}


@pytest.mark.parametrize(("name", "message", "code", "reason"), CODES.values(), ids=CODES)
def test_a_call_is_refused_with_its_code(call: Callable[..., Any], name: str, message: Any, code: str, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        call(name, message)
    assert refusal.value.code().name in code.split("|")
    assert reason in refusal.value.details()
    assert "Traceback" not in refusal.value.details()


def test_a_packed_message_that_grows_beyond_the_bound_is_refused(call: Callable[..., Any]) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        call("ModelInfer", b"\0" * (16 * MAX_BODY_BYTES), compression=grpc.Compression.Gzip)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_large_message_is_answered(call: Callable[..., Any]) -> None:
    answer = call("ModelInfer", question([[1, 2, 9]] * 50_000), wire.ModelInferResponse)
    assert set(answer.outputs[0].contents.int64_contents) == {8}


@pytest.mark.parametrize(("service", "expected"), [("", "SERVING"), (SERVICE, "SERVING"), ("other", "NOT_FOUND")])
def test_health_is_told_by_service(call: Callable[..., Any], service: str, expected: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        state = call("Check", request, health_pb2.HealthCheckResponse, "grpc.health.v1.Health").status
        told = health_pb2.HealthCheckResponse.ServingStatus.Name(state)
    except grpc.RpcError as error:
        told = error.code().name
    assert told == expected


def test_calls_are_measured(call: Callable[..., Any], running: Any, wait: Callable[..., None]) -> None:
    call("ModelInfer", question())
    with running.client() as client:
        sample = 'windlass_grpc_call_duration_seconds_count{call="ModelInfer",code="OK"}'
        wait(lambda: sample in client.get("/metrics").text, "the call is counted")


def test_a_server_that_stops_says_so_answers_on_and_ends_well(
    examples: dict[str, Any], serve_example: Callable[..., Any], wait: Callable[..., None]
) -> None:
    with serve_example(examples["numbers"]) as server, grpc.insecure_channel(server.grpc_address) as channel:
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        reply = channel.unary_unary(f"/{SERVICE}/ModelInfer")(question().SerializeToString(), timeout=SECONDS)
        assert list(wire.ModelInferResponse.FromString(reply).outputs[0].contents.int64_contents) == [8]
        watch.cancel()
        wait(lambda: server.process.poll() is not None, "the server ends")
        assert server.process.returncode == 0, server.log.read_text()
