"""The two ways to ask, as pure translations: a body becomes arrays and a way to write the answer, the answer becomes a body.

    predict   {"instances": [...]} in, {"predictions": [...], ...} out
    infer     the Open Inference Protocol v2, JSON or binary

Knows no HTTP framework and no queue: `door.py` reads the bodies and has the arrays computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from windlass_infer.datatypes import shown
from windlass_infer.engine import Arrays
from windlass_infer.errors import BadRequest
from windlass_infer.predictor import Floats, Predictor
from windlass_infer.protocol import HEADER_LENGTH, JSON_TYPE, Encoded, encode_response, parse_json, parse_request

INSTANCES = "instances"
_HEADER_LENGTH_KEY = HEADER_LENGTH.lower().encode()


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller asks: so many rows for the engine, and how the caller wants the answer written."""

    inputs: Arrays
    rows: int
    answer: Callable[[Arrays], Encoded]


# Body and headers (lower-case names, as ASGI gives them) to a question. Raises BadRequest and BadData.
Read = Callable[[Predictor, bytes, Mapping[bytes, bytes]], Question]


def read_predict(predictor: Predictor, body: bytes, _headers: Mapping[bytes, bytes]) -> Question:
    """A `:predict` call.

    Raises:
        BadRequest: the body is not {"instances": [row, ...]} with at least one row.
        BadData: a row cannot be computed with; names row and column.
    """
    document = parse_json(body)
    if unknown := document.keys() - {INSTANCES}:
        raise BadRequest(f'the field {shown(min(unknown))} is unknown; a request is {{"{INSTANCES}": [row, ...]}}')
    rows = document.get(INSTANCES)
    if not isinstance(rows, list) or not rows:
        raise BadRequest(f'"{INSTANCES}" must be a list of at least one row, each an object by column name or a list of values')
    inputs = predictor.arrays_of_rows(rows)

    def answer(outputs: Arrays) -> Encoded:
        return _predictions(predictor, predictor.check(outputs, len(rows)))

    return Question(inputs, len(rows), answer)


def read_infer(predictor: Predictor, body: bytes, headers: Mapping[bytes, bytes]) -> Question:
    """A V2 infer call.

    Raises:
        BadRequest: the body is not a request of the protocol, or does not fit the model's inputs and outputs.
        BadData: a value cannot be computed with; names row and column.
    """
    length = headers.get(_HEADER_LENGTH_KEY)
    request = parse_request(body, None if length is None else length.decode("latin-1"), predictor.raw_input)
    selected = request.selected(predictor.output_names)
    inputs = predictor.arrays_of_tensors(request.inputs)
    rows = len(next(iter(inputs.values())))

    def answer(outputs: Arrays) -> Encoded:
        checked = predictor.check(outputs, rows)
        return encode_response(
            [(predictor.tensor(output.name, checked), output.binary) for output in selected],
            model=predictor.version.name,
            version=str(predictor.version.number),
            identifier=request.id,
        )

    return Question(inputs, rows, answer)


def _predictions(predictor: Predictor, answer: Floats) -> Encoded:
    document: dict[str, Any] = {"predictions": predictor.predictions(answer)}
    if predictor.classes:
        document["probabilities"] = answer
        document["classes"] = predictor.classes
    version = predictor.version
    document["model"] = {"name": version.name, "version": version.number, "digest": version.digest}
    return Encoded(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=_contiguous), {"Content-Type": JSON_TYPE})


def _contiguous(value: object) -> Any:
    """What orjson does not write by itself: a view of an array that is not contiguous."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
