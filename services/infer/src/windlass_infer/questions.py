"""The two ways to ask, as pure translations: a body becomes arrays and a way to write the answer, the answer becomes a body.

    predict   {"instances": [...]} or another body of rows in, {"predictions": [...], ...} or one array out
    infer     the Open Inference Protocol v2, JSON or binary, or another body of rows in

Knows no HTTP framework and no queue: `door.py` reads the bodies and has the arrays computed.
"""

from array import array
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import orjson

from windlass_infer.bodies import media
from windlass_infer.bodies.choice import arrays_of_body, is_json
from windlass_infer.bodies.compression import coding_for, decoded
from windlass_infer.bodies.media import Headers
from windlass_infer.bodies.npy import NPY_TYPE, write_npy
from windlass_infer.datatypes import Tensor, shown
from windlass_infer.encoding import classified, encode_response
from windlass_infer.engine import Array, Arrays
from windlass_infer.errors import BadRequest
from windlass_infer.known_frames import KnownFrames
from windlass_infer.predictor import Predictor
from windlass_infer.protocol import (
    BINARY_TYPE,
    HEADER_LENGTH,
    JSON_TYPE,
    Encoded,
    InferRequest,
    RequestedOutput,
    parse_json,
    parse_request,
)

INSTANCES = "instances"
_HEADER_LENGTH_KEY = HEADER_LENGTH.lower().encode()
_FRAMES = KnownFrames()
_NAME, _BINARY, _CLASSES = attrgetter("name"), attrgetter("binary"), attrgetter("classes")


class Question(NamedTuple):
    """What a caller asks.

    `inputs` are so many `rows` for the engine, `answer` writes its outputs as the caller wants them. `timeout_seconds` is the
    caller's own limit, None for none; `priority` that of the protocol's schedule policy, 0 for none, 1 the highest. `coding` is
    the one in which the caller takes a large answer. `unpacked_bytes` is the size of the body where it came packed, else 0.
    """

    inputs: Arrays
    rows: int
    answer: Callable[[Arrays], Encoded]
    timeout_seconds: float | None = None
    priority: int = 0
    coding: str | None = None
    unpacked_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """Memory that it holds beside the body as it came; text is counted by its references."""
        return self.unpacked_bytes + sum(map(_own_bytes, self.inputs.values()))


# Body and headers (lower-case names, as ASGI gives them) to a question. Raises BadRequest and BadData.
Read = Callable[[Predictor, bytes, Headers], Question]


def read_predict(predictor: Predictor, body: bytes, headers: Headers) -> Question:
    """A `:predict` call.

    Raises:
        BadRequest: the body is not {"instances": [row, ...]} with at least one row, nor a whole body of another type.
        BadData: a row cannot be computed with; names row and column.
        UnsupportedMedia: the model does not take bodies of this type.
        TooLarge: the body becomes too large when it is unpacked.
    """
    plain = decoded(body, headers)
    inputs = predictor.arrays_of_rows(_instances(plain)) if is_json(headers) else arrays_of_body(predictor, plain, headers)
    rows = _rows(inputs)
    npy = media.accepted(headers, NPY_TYPE)
    output = _npy_output(predictor, npy.parameters.get("output")) if npy else None

    def answer(outputs: Arrays) -> Encoded:
        return _array(predictor, outputs, rows, output) if output else _predictions(predictor, outputs, rows)

    return Question(inputs, rows, answer, coding=coding_for(headers), unpacked_bytes=_unpacked_bytes(body, plain))


def read_infer(predictor: Predictor, body: bytes, headers: Headers) -> Question:
    """A V2 infer call.

    Raises:
        BadRequest: the body is not a request of the protocol, or does not fit the model's inputs and outputs.
        BadData: a value cannot be computed with; names row and column.
        UnsupportedMedia: the model does not take bodies of this type.
        TooLarge: the body becomes too large when it is unpacked.
    """
    plain = decoded(body, headers)
    length = headers.get(_HEADER_LENGTH_KEY)
    if length is not None or is_json(headers):
        request, tensors = _requested(predictor, plain, length)
        inputs = predictor.arrays_of_tensors(tensors)
    else:
        described = media.content_type(headers)
        request = InferRequest((), binary_by_default=described is not None and described.name == BINARY_TYPE)
        inputs = arrays_of_body(predictor, plain, headers)
    selected = request.selected(predictor.output_names)
    rows = _rows(inputs)

    def answer(outputs: Arrays) -> Encoded:
        return encode_response(
            list(zip(answer_tensors(predictor, selected, outputs, rows), map(_BINARY, selected), strict=True)),
            model=predictor.version.name,
            version=str(predictor.version.number),
            identifier=request.id,
        )

    unpacked = _unpacked_bytes(body, plain)
    return Question(inputs, rows, answer, request.timeout_seconds, request.priority, coding_for(headers), unpacked)


def _requested(predictor: Predictor, body: bytes, header_length: bytes | None) -> tuple[InferRequest, Sequence[Tensor]]:
    """What is asked for, and the inputs."""
    if header_length is not None:
        request = parse_request(body, header_length.decode("latin-1"), predictor.only_input)
        return request, request.inputs
    if (known := _FRAMES.find(body)) is not None:
        return known
    request = parse_request(body)
    _FRAMES.learn(body, request)
    return request, request.inputs


def answer_tensors(predictor: Predictor, asked: tuple[RequestedOutput, ...], outputs: Arrays, rows: int) -> list[Tensor]:
    """The outputs that a V2 request asked for. Raises as Predictor.tensors and `classified` do."""
    tensors = predictor.tensors(outputs, rows, list(map(_NAME, asked)))
    if not any(map(_CLASSES, asked)):
        return tensors
    return [
        classified(tensor, output.classes, predictor.class_labels(output.name)) if output.classes else tensor
        for tensor, output in zip(tensors, asked, strict=True)
    ]


def _instances(body: bytes) -> list[Any]:
    document = parse_json(body)
    if unknown := document.keys() - {INSTANCES}:
        raise BadRequest(f'the field {shown(min(unknown))} is unknown; a request is {{"{INSTANCES}": [row, ...]}}')
    rows = document.get(INSTANCES)
    if not isinstance(rows, list) or not rows:
        raise BadRequest(f'"{INSTANCES}" must be a list of at least one row')
    return rows


def _unpacked_bytes(body: bytes, plain: bytes) -> int:
    return 0 if plain is body else len(plain)


def _own_bytes(values: Array) -> int:
    """Memory of an array; 0 for one that is a view of a body."""
    while isinstance(values.base, np.ndarray):
        values = values.base
    owner: object = values.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return values.nbytes if owner is None or isinstance(owner, array) else 0


def _rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _npy_output(predictor: Predictor, name: str | None) -> str:
    """The output that goes as .npy: the one that the Accept header names, else the first."""
    if name is not None and name not in predictor.output_names:
        raise BadRequest(f"output {shown(name)} of the Accept header is not one of {', '.join(predictor.output_names)}")
    return name or predictor.output_names[0]


def _array(predictor: Predictor, outputs: Arrays, rows: int, name: str) -> Encoded:
    [tensor] = predictor.tensors(outputs, rows, [name])
    return Encoded(write_npy(tensor.values), {"Content-Type": NPY_TYPE})


def _predictions(predictor: Predictor, outputs: Arrays, rows: int) -> Encoded:
    version = predictor.version
    document = predictor.predictions(outputs, rows)
    document["model"] = {"name": version.name, "version": version.number, "digest": version.digest}
    return Encoded(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), {"Content-Type": JSON_TYPE})
