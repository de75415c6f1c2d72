"""Messages of the Open Inference Protocol v2: an infer request read from its body, an infer response written to one.

Pure: bytes in, tensors out, and back. Both forms are read and written: plain JSON, and the binary tensor data extension (a JSON
header whose length the header `Inference-Header-Content-Length` gives, then the raw tensors in the order of their
declaration). Whatever a client sends, the only error is `BadRequest`. Knows no HTTP framework and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from windlass_infer.datatypes import DATATYPES, Tensor, datatype_of, from_bytes, from_json, shape_of, shown, to_bytes
from windlass_infer.errors import BadRequest

HEADER_LENGTH = "Inference-Header-Content-Length"
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
EXTENSIONS = ("binary_tensor_data",)

# Extensions that ask for another answer than the tensors; leaving them out without a word would answer a different question.
_REFUSED_OUTPUT_PARAMETERS = ("classification", "shared_memory_region")


@dataclass(frozen=True)
class RequestedOutput:
    """One output that the client wants, and whether as raw bytes."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferRequest:
    """What a client asks for. `outputs` is None when it named none and so wants all, as `binary_by_default` says."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_by_default: bool = False
    id: str | None = None

    def selected(self, available: Sequence[str]) -> tuple[RequestedOutput, ...]:
        """The outputs to answer with, in the order asked for. Raises BadRequest for one that the model does not have."""
        if self.outputs is None:
            return tuple(RequestedOutput(name, self.binary_by_default) for name in available)
        for output in self.outputs:
            if output.name not in available:
                raise BadRequest(f"output '{output.name}' is not one of {', '.join(available)}")
        return self.outputs


@dataclass(frozen=True)
class Encoded:
    """A body with the headers that say how to read it."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RawInput:
    """How a body of nothing but raw bytes is read: the model's only input, if it has one of numbers."""

    name: str
    datatype: str
    width: int


def parse_json(body: bytes | memoryview) -> dict[str, Any]:
    """A JSON object. Raises BadRequest, naming line and column of what is wrong."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BadRequest(f"the body must be a JSON object, not {shown(parsed)}")
    return parsed


def parse_request(body: bytes, header_length: str | None = None, raw_input: RawInput | None = None) -> InferRequest:
    """An infer request.

    Args:
        body: the whole body.
        header_length: value of the header Inference-Header-Content-Length, if there is one. 0 means that the body is nothing
            but the bytes of the model's only input.
        raw_input: that input; None when the model has several, or one of text.

    Raises:
        BadRequest: the body is not a request, or its tensors are not what they say they are.
    """
    view = memoryview(body)
    length = len(view) if header_length is None else _header_length(header_length, len(view))
    if header_length is not None and length == 0:
        return _raw_request(view, raw_input)
    document = parse_json(view[:length])
    declared = _list_of_objects(document, "inputs")
    if not declared:
        raise BadRequest("inputs is missing or empty; a request names at least one input tensor")
    parameters = _object(document, "parameters", "the request")
    binary_by_default = _flag(parameters, "binary_data_output", "the request")
    outputs = None
    if document.get("outputs"):
        outputs = tuple(_requested(output, binary_by_default) for output in _list_of_objects(document, "outputs"))
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequest(f"id must be a string, not {shown(identifier)}")
    return InferRequest(_inputs(declared, view[length:]), outputs, binary_by_default, identifier)


def encode_response(tensors: Sequence[tuple[Tensor, bool]], *, model: str, version: str, identifier: str | None) -> Encoded:
    """An infer response.

    Args:
        tensors: the outputs in order, each with whether it goes as raw bytes.
        model: name of the model.
        version: its version.
        identifier: the id of the request, echoed.
    """
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if identifier is not None:
        document["id"] = identifier
    raw: list[bytes] = []
    described: list[dict[str, Any]] = []
    for tensor, binary in tensors:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.values.shape}
        if binary:
            raw.append(to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = _json_values(tensor.values)
        described.append(entry)
    document["outputs"] = described
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return Encoded(header, {"Content-Type": JSON_TYPE})
    return Encoded(b"".join([header, *raw]), {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(header))})


def encode_request(request: InferRequest, *, binary: bool) -> Encoded:
    """The body that `parse_request` reads back as `request`: what a client sends, here for examples and round trips."""
    document: dict[str, Any] = {"inputs": []}
    if request.id is not None:
        document["id"] = request.id
    if request.binary_by_default:
        document["parameters"] = {"binary_data_output": True}
    if request.outputs is not None:
        document["outputs"] = [{"name": asked.name, "parameters": {"binary_data": asked.binary}} for asked in request.outputs]
    raw: list[bytes] = []
    for tensor in request.inputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.values.shape}
        if binary:
            raw.append(to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = _json_values(tensor.values)
        document["inputs"].append(entry)
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return Encoded(header, {"Content-Type": JSON_TYPE})
    return Encoded(b"".join([header, *raw]), {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(header))})


def _json_values(values: NDArray[Any]) -> Any:
    """Flat, row-major; object arrays become lists of str, numbers stay arrays, which orjson writes without a copy in Python."""
    return values.ravel().tolist() if values.dtype == object else np.ascontiguousarray(values.ravel())


def _header_length(text: str, body_length: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise BadRequest(f"{HEADER_LENGTH} must be a whole number of bytes, not {shown(text)}")
    length = int(text)
    if length > body_length:
        raise BadRequest(f"{HEADER_LENGTH} is {length}, but the body has {body_length} bytes")
    return length


def _raw_request(view: memoryview, raw_input: RawInput | None) -> InferRequest:
    if raw_input is None:
        raise BadRequest(f"{HEADER_LENGTH} is 0, but only a model whose one input is numbers takes a body of raw values")
    datatype = DATATYPES[raw_input.datatype]
    assert datatype.dtype is not None  # noqa: S101  # a RawInput is one of numbers
    row = raw_input.width * datatype.dtype.itemsize
    if not len(view) or len(view) % row:
        expected = f"a row of '{raw_input.name}' is {raw_input.width} values of {raw_input.datatype}, {row} bytes"
        raise BadRequest(f"the body has {len(view)} bytes; {expected}")
    tensor = from_bytes(raw_input.name, datatype, (len(view) // row, raw_input.width), view)
    return InferRequest((tensor,), binary_by_default=True)


def _inputs(declared: list[dict[str, Any]], raw: memoryview) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    names: set[str] = set()
    offset = 0
    for entry in declared:
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise BadRequest(f"an input has no name: {shown(entry)}")
        if name in names:
            raise BadRequest(f"input '{name}' is given twice")
        names.add(name)
        datatype = datatype_of(entry.get("datatype"), tensor=name)
        shape = shape_of(entry.get("shape"), tensor=name)
        size = _object(entry, "parameters", f"input '{name}'").get("binary_data_size")
        if size is None:
            if "data" not in entry:
                raise BadRequest(f"input '{name}' has neither data nor the parameter binary_data_size")
            tensors.append(from_json(name, datatype, shape, entry["data"]))
            continue
        if "data" in entry:
            raise BadRequest(f"input '{name}' has both data and the parameter binary_data_size; send one of them")
        if type(size) is not int or size < 0:
            raise BadRequest(f"input '{name}': binary_data_size must be a whole number of bytes, not {shown(size)}")
        if offset + size > len(raw):
            left = len(raw) - offset
            raise BadRequest(f"input '{name}': binary_data_size is {size}, but only {left} bytes of binary data are left")
        tensors.append(from_bytes(name, datatype, shape, raw[offset : offset + size]))
        offset += size
    if offset != len(raw):
        stray = len(raw) - offset
        raise BadRequest(f"{stray} bytes of binary data belong to no input; check binary_data_size and {HEADER_LENGTH}")
    return tuple(tensors)


def _requested(entry: dict[str, Any], binary_by_default: bool) -> RequestedOutput:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"an output has no name: {shown(entry)}")
    parameters = _object(entry, "parameters", f"output '{name}'")
    for refused in _REFUSED_OUTPUT_PARAMETERS:
        if parameters.get(refused):
            raise BadRequest(f"output '{name}': the parameter {refused} is not supported")
    return RequestedOutput(name, _flag(parameters, "binary_data", f"output '{name}'", default=binary_by_default))


def _list_of_objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or any(not isinstance(entry, dict) for entry in value):
        raise BadRequest(f"{key} must be a list of objects, not {shown(value)}")
    return value


def _object(document: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{key} of {where} must be an object, not {shown(value)}")
    return value


def _flag(parameters: dict[str, Any], key: str, where: str, *, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadRequest(f"parameter {key} of {where} must be true or false, not {shown(value)}")
    return value
