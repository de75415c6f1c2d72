"""Requests of the Open Inference Protocol v2, read from their bytes.

Pure: bytes in, tensors and wishes out. Both forms are read: plain JSON, and the binary tensor data extension (a JSON header
whose length the header `Inference-Header-Content-Length` gives, then the raw tensors in the order of their declaration).
Whatever a client sends, the only error is `BadRequest`. Knows no HTTP framework and no model; `encoding.py` writes the answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from windlass_infer.bodies.raw import tensor_of_raw
from windlass_infer.datatypes import Tensor, datatype_of, from_bytes, from_json, shape_of, shown
from windlass_infer.engine import TensorSignature
from windlass_infer.errors import BadRequest

HEADER_LENGTH = "Inference-Header-Content-Length"
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
# What every server of ours does beyond the protocol itself; `administration.py` adds what its configuration turns on.
EXTENSIONS = ("binary_tensor_data", "classification", "schedule_policy", "statistics")

MICROSECOND = 1e-6
MAX_NAME_CHARACTERS = 512
# The protocol's numbers are 64 bits wide.
_MAX_NUMBER = 2**63 - 1
# Asks for more classes than any output has are answered with all; the bound keeps what they cost below that.
_MAX_CLASSES = 2**31 - 1


@dataclass(frozen=True)
class RequestedOutput:
    """One output that the client wants, and whether as raw bytes. `classes` asks for so many of the best classes, if not 0."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """What a client asks for.

    `outputs` is None when it named none and so wants all, as `binary_by_default` says. `timeout_seconds` is None when it set no
    limit; `priority` is that of the schedule policy extension, 0 for none.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_by_default: bool = False
    id: str | None = None
    timeout_seconds: float | None = None
    priority: int = 0

    def selected(self, available: tuple[str, ...]) -> tuple[RequestedOutput, ...]:
        """The outputs to answer with, in the order asked for.

        Raises:
            BadRequest: for one that the model does not have, or that is asked for twice.
        """
        if self.outputs is None:
            return _all_outputs(available, self.binary_by_default)
        names: set[str] = set()
        for output in self.outputs:
            if output.name not in available:
                raise BadRequest(f"output '{output.name}' is not one of {', '.join(available)}")
            if output.name in names:
                raise BadRequest(f"output '{output.name}' is asked for twice")
            names.add(output.name)
        return self.outputs


@lru_cache(maxsize=256)  # a few for each version that is loaded
def _all_outputs(names: tuple[str, ...], binary: bool) -> tuple[RequestedOutput, ...]:
    return tuple(RequestedOutput(name, binary) for name in names)


class Encoded(NamedTuple):
    """A body with the headers that say how to read it."""

    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


def parse_json(body: bytes | memoryview) -> dict[str, Any]:
    """A JSON object. Raises BadRequest, naming line and column of what is wrong."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BadRequest(f"the body must be a JSON object, not {shown(parsed)}")
    return parsed


def parse_request(body: bytes, header_length: str | None = None, only_input: TensorSignature | None = None) -> InferRequest:
    """An infer request.

    Args:
        body: the whole body.
        header_length: value of the header Inference-Header-Content-Length, if there is one. 0 means that the body is nothing
            but the bytes of the model's only input.
        only_input: that input; None when the model has several, or one of text.

    Raises:
        BadRequest: the body is not a request, or its tensors are not what they say they are.
    """
    view = memoryview(body)
    length = len(view) if header_length is None else _header_length(header_length, len(view))
    if header_length is not None and length == 0:
        if only_input is None:
            raise BadRequest(f"{HEADER_LENGTH} is 0, but only a model whose one input is numbers takes a body of raw values")
        return InferRequest((tensor_of_raw(only_input, view),), binary_by_default=True)
    document = parse_json(view[:length])
    declared = _list_of_objects(document, "inputs")
    if not declared:
        raise BadRequest("inputs is missing or empty; a request names at least one input tensor")
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequest(f"id must be a string, not {shown(identifier)}")
    parameters = _object(document, "parameters", "the request")
    binary_by_default = _flag(parameters, "binary_data_output", "the request")
    outputs = None
    if document.get("outputs"):
        outputs = tuple(_requested(output, binary_by_default) for output in _list_of_objects(document, "outputs"))
    timeout, priority = schedule(parameters)
    return InferRequest(_inputs(declared, view[length:]), outputs, binary_by_default, identifier, timeout, priority)


def schedule(parameters: Mapping[str, Any]) -> tuple[float | None, int]:
    """The seconds that a request may take, None for no limit, and its priority, by its parameters.

    Raises:
        BadRequest: one of them is no number of the protocol, or the request is part of a sequence.
    """
    if not parameters:
        return None, 0
    if parameters.get("sequence_id"):
        raise BadRequest("the parameter sequence_id is not supported: this server keeps nothing between two requests")
    microseconds = _whole(parameters, "timeout", "the request")
    return microseconds * MICROSECOND if microseconds else None, _whole(parameters, "priority", "the request")


def requested_output(name: str, parameters: Mapping[str, Any], *, binary_by_default: bool) -> RequestedOutput:
    """What a client wants of one output, by the output's parameters. Raises BadRequest."""
    where = f"output '{name}'"
    _refuse_shared_memory(parameters, where)
    classes = min(_whole(parameters, "classification", where), _MAX_CLASSES)
    return RequestedOutput(name, _flag(parameters, "binary_data", where, default=binary_by_default), classes)


def checked_name(name: object, what: str) -> str:
    """The name of `what`. Raises BadRequest for none, and for one that would make sentences too long to read."""
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{what} has no name")
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadRequest(f"{what} has a name of {len(name)} characters; no model has one of more than {MAX_NAME_CHARACTERS}")
    return name


def _refuse_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    if parameters.get("shared_memory_region"):
        raise BadRequest(f"{where}: shared memory is not supported; send and ask for tensors as binary data")


def _header_length(text: str, body_length: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise BadRequest(f"{HEADER_LENGTH} must be a whole number of bytes, not {shown(text)}")
    length = int(text)
    if length > body_length:
        raise BadRequest(f"{HEADER_LENGTH} is {length}, but the body has {body_length} bytes")
    return length


def _inputs(declared: list[dict[str, Any]], raw: memoryview) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    names: set[str] = set()
    offset = 0
    for entry in declared:
        name = checked_name(entry.get("name"), "an input")
        if name in names:
            raise BadRequest(f"input '{name}' is given twice")
        names.add(name)
        datatype = datatype_of(entry.get("datatype"), tensor=name)
        shape = shape_of(entry.get("shape"), tensor=name)
        parameters = _object(entry, "parameters", f"input '{name}'")
        _refuse_shared_memory(parameters, f"input '{name}'")
        size = parameters.get("binary_data_size")
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
    name = checked_name(entry.get("name"), "an output")
    parameters = _object(entry, "parameters", f"output '{name}'")
    return requested_output(name, parameters, binary_by_default=binary_by_default)


def _list_of_objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not {dict}.issuperset(map(type, value)):
        raise BadRequest(f"{key} must be a list of objects, not {shown(value)}")
    return value


def _object(document: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{key} of {where} must be an object, not {shown(value)}")
    return value


def _flag(parameters: Mapping[str, Any], key: str, where: str, *, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadRequest(f"parameter {key} of {where} must be true or false, not {shown(value)}")
    return value


def _whole(parameters: Mapping[str, Any], key: str, where: str) -> int:
    value = parameters.get(key, 0)
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise BadRequest(f"parameter {key} of {where} must be a whole number from 0, not {shown(value)}")
    return value
