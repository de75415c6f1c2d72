"""Messages of the protocol to what the rest of the service knows, and back. Pure; the only error is BadRequest.

Values come and go in one of two forms: raw bytes, as over HTTP, or typed contents. Protobuf gives typed contents to Python one
object at a time, 90 nanoseconds each; but on the wire those of FP32, FP64 and BOOL are the raw bytes behind a few of a header,
and that is how they are read and written here, without looking at single values.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from windlass_infer.datatypes import (
    BOOL,
    BYTES,
    DATATYPES,
    Datatype,
    Tensor,
    datatype_of,
    from_bytes,
    objects,
    shape_of,
    to_bytes,
)
from windlass_infer.engine import Arrays
from windlass_infer.errors import BadRequest
from windlass_infer.grpc.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
    ModelRepositoryParameter,
)
from windlass_infer.predictor import Predictor, ServedVersion
from windlass_infer.protocol import Encoded, InferRequest, RequestedOutput, checked_name, requested_output, schedule
from windlass_infer.questions import Question, answer_tensors

# The field of typed contents for each datatype that has one.
FIELDS = {
    BOOL: "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
# Datatypes whose typed contents are their raw bytes on the wire: little-endian numbers of fixed width, and truth values as
# numbers below 128, which take one byte.
_RAW_ON_THE_WIRE = frozenset({"FP32", "FP64", BOOL})
# Wire type 2 of protobuf, LEN: a length and so many bytes.
_LENGTH_DELIMITED = 2


def parsed(kind: type[Any], body: bytes) -> Any:
    """A message of that kind. Raises BadRequest."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise BadRequest(f"the message is no {kind.DESCRIPTOR.name}") from None


def question(predictor: Predictor, message: ModelInferRequest) -> Question:
    """The question that a call is; its answer is the message's bytes. Raises BadRequest and BadData."""
    request = infer_request(message)
    selected = request.selected(predictor.output_names)
    inputs = predictor.arrays_of_tensors(request.inputs)
    rows = len(next(iter(inputs.values())))

    def answer(outputs: Arrays) -> Encoded:
        tensors = answer_tensors(predictor, selected, outputs, rows)
        response = infer_response(tensors, predictor.version, request.id, raw=request.binary_by_default)
        return Encoded(response.SerializeToString())

    return Question(inputs, rows, answer, request.timeout_seconds, request.priority)


def infer_request(message: ModelInferRequest) -> InferRequest:
    """What a client asks for. `binary_by_default` says that it sent raw contents, and so is answered with them.

    Raises:
        BadRequest: the message is no request of the protocol, or its tensors are not what they say they are.
    """
    if not message.inputs:
        raise BadRequest("inputs is empty; a request names at least one input tensor")
    names = [checked_name(entry.name, "an input") for entry in message.inputs]
    if len(set(names)) < len(names):
        raise BadRequest("two inputs have the same name")
    raw = message.raw_input_contents
    if raw and len(raw) != len(names):
        raise BadRequest(f"there are {len(names)} inputs, but {len(raw)} raw_input_contents; send one for each input, or none")
    timeout, priority = schedule(parameter_values(message.parameters))
    return InferRequest(
        inputs=tuple(_input(entry, raw[index] if raw else None) for index, entry in enumerate(message.inputs)),
        outputs=tuple(map(_output, message.outputs)) or None,
        binary_by_default=bool(raw),
        id=message.id or None,
        timeout_seconds=timeout,
        priority=priority,
    )


def infer_response(
    tensors: Sequence[Tensor], version: ServedVersion, identifier: str | None, *, raw: bool
) -> ModelInferResponse:
    """An infer response, with raw contents or, where every datatype has them, typed ones."""
    message = ModelInferResponse(model_name=version.name, model_version=str(version.number), id=identifier or "")
    raw = raw or any(tensor.datatype not in FIELDS for tensor in tensors)
    for tensor in tensors:
        entry = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
        if raw:
            message.raw_output_contents.append(bytes(to_bytes(tensor)))
        else:
            entry.contents.CopyFrom(_contents(tensor))
    return message


def model_metadata(predictor: Predictor, versions: Sequence[str], platform: str) -> ModelMetadataResponse:
    """What a model takes and gives."""
    message = ModelMetadataResponse(name=predictor.version.name, versions=versions, platform=platform)
    for signatures, field in ((predictor.inputs, message.inputs), (predictor.outputs, message.outputs)):
        for signature in signatures:
            field.add(name=signature.name, datatype=signature.datatype, shape=signature.shape)
    return message


def parameter_values(parameters: Mapping[str, InferParameter] | Mapping[str, ModelRepositoryParameter]) -> dict[str, Any]:
    """Parameters as JSON would have them; one without a value is none."""
    chosen = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], choice) for name, choice in chosen.items() if choice}


def _output(entry: ModelInferRequest.InferRequestedOutputTensor) -> RequestedOutput:
    return requested_output(checked_name(entry.name, "an output"), parameter_values(entry.parameters), binary_by_default=False)


def _input(entry: ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    datatype = datatype_of(entry.datatype, tensor=entry.name)
    shape = shape_of(list(entry.shape), tensor=entry.name)
    if parameter_values(entry.parameters).get("shared_memory_region"):
        raise BadRequest(f"input '{entry.name}': shared memory is not supported; send tensors in the message")
    if raw is None:
        return _typed(entry.name, datatype, shape, entry.contents)
    if entry.HasField("contents"):
        raise BadRequest(f"input '{entry.name}' has contents, but the request has raw_input_contents; send one of them")
    return from_bytes(entry.name, datatype, shape, memoryview(raw))


def _typed(name: str, datatype: Datatype, shape: tuple[int, ...], contents: InferTensorContents) -> Tensor:
    field = FIELDS.get(datatype.name)
    if field is None:
        raise BadRequest(f"tensor '{name}': {datatype.name} has no typed contents; send it in raw_input_contents")
    given = [descriptor.name for descriptor, _ in contents.ListFields()]
    if stranger := next((other for other in given if other != field), None):
        raise BadRequest(f"tensor '{name}': {datatype.name} goes in {field}, not in {stranger}")
    values = getattr(contents, field)
    if len(values) != math.prod(shape):
        raise BadRequest(f"tensor '{name}': shape {list(shape)} takes {math.prod(shape)} values, but {field} has {len(values)}")
    if datatype.dtype is None:
        return Tensor(name, datatype.name, objects(list(values), shape))
    numbers = _from_wire(contents, len(values), datatype) if datatype.name in _RAW_ON_THE_WIRE else None
    if numbers is None:
        numbers = _narrowed(name, datatype, values)
    return Tensor(name, datatype.name, numbers.reshape(shape))


def _from_wire(contents: InferTensorContents, count: int, datatype: Datatype) -> NDArray[Any] | None:
    """The values as they stand at the end of the message; None when something else stands there too."""
    assert datatype.dtype is not None  # noqa: S101  # BYTES is not among those
    wire = contents.SerializeToString()
    size = count * datatype.size
    if count and wire[: len(wire) - size] != _wire_header(datatype, size):
        return None
    return np.frombuffer(wire, datatype.dtype, count=count, offset=len(wire) - size)


def _narrowed(name: str, datatype: Datatype, values: Iterable[Any]) -> NDArray[Any]:
    """Numbers of a field that is wider than the datatype."""
    assert datatype.dtype is not None  # noqa: S101  # BYTES was handled by the caller
    try:
        return np.array(values, dtype=datatype.dtype)
    except OverflowError:
        raise BadRequest(f"tensor '{name}': a value lies beyond the range of {datatype.name}") from None


def _contents(tensor: Tensor) -> InferTensorContents:
    if tensor.datatype in _RAW_ON_THE_WIRE:
        raw = to_bytes(tensor)
        return InferTensorContents.FromString(_wire_header(DATATYPES[tensor.datatype], len(raw)) + bytes(raw))
    values: list[Any] = tensor.values.ravel().tolist()
    if tensor.datatype == BYTES:
        values = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return InferTensorContents(**{FIELDS[tensor.datatype]: values})


def _wire_header(datatype: Datatype, size: int) -> bytes:
    """What protobuf writes before the packed values of a field: its number with the wire type, then the length as a varint."""
    number = InferTensorContents.DESCRIPTOR.fields_by_name[FIELDS[datatype.name]].number
    header = bytearray([number << 3 | _LENGTH_DELIMITED])
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header)
