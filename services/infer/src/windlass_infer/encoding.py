"""Messages of the Open Inference Protocol v2, written: infer responses, and requests as a client writes them.

Pure: tensors in, bytes out, as JSON or with binary tensor data; `protocol.py` reads them. Knows no HTTP framework and no model.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from windlass_infer.datatypes import BYTES, DATATYPES, NUMERIC, Tensor, all_finite, texts, to_bytes
from windlass_infer.errors import BadRequest, PredictionNotFinite
from windlass_infer.protocol import BINARY_TYPE, HEADER_LENGTH, JSON_TYPE, Encoded, InferRequest

_JSON_HEADERS = {"Content-Type": JSON_TYPE}
_NO_VALUES, _BEHIND = b"[]", b"}]}"


def encode_response(tensors: Sequence[tuple[Tensor, bool]], *, model: str, version: str, identifier: str | None) -> Encoded:
    """An infer response.

    Args:
        tensors: the outputs in order, each with whether it goes as raw bytes.
        model: name of the model.
        version: its version.
        identifier: the id of the request, echoed.

    Raises:
        BadRequest: an output has no form in JSON.
        PredictionNotFinite: a number that goes as JSON is NaN or infinite, which JSON cannot say.
    """
    if identifier is None and len(tensors) == 1 and not tensors[0][1]:
        tensor = tensors[0][0]
        before, behind = _frame(model, version, tensor.name, tensor.datatype, tensor.values.shape)
        values = orjson.dumps(_flat(json_values(tensor)), option=orjson.OPT_SERIALIZE_NUMPY)
        return Encoded(before + values + behind, _JSON_HEADERS)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if identifier is not None:
        document["id"] = identifier
    return _encoded(document, "outputs", tensors)


def encode_request(request: InferRequest, *, binary: bool) -> Encoded:
    """The body that `parse_request` reads back as `request`: what a client sends, here for examples and round trips."""
    document: dict[str, Any] = {}
    if request.id is not None:
        document["id"] = request.id
    if request.binary_by_default:
        document["parameters"] = {"binary_data_output": True}
    if request.outputs is not None:
        document["outputs"] = [{"name": asked.name, "parameters": {"binary_data": asked.binary}} for asked in request.outputs]
    return _encoded(document, "inputs", [(tensor, binary) for tensor in request.inputs])


def classified(tensor: Tensor, count: int, labels: Sequence[str]) -> Tensor:
    """The best classes of each row, as the classification extension writes them: `value:index` or `value:index:label`.

    Args:
        tensor: numbers, [rows, classes].
        count: classes wanted of each row; more than there are gives all.
        labels: names of the classes, none where they have no names.

    Returns:
        BYTES, [rows, min(count, classes)], the largest value first.

    Raises:
        BadRequest: the tensor is no numbers of classes.
    """
    if tensor.datatype not in NUMERIC or tensor.values.ndim != 2:
        raise BadRequest(
            f"output '{tensor.name}' is not one number a class, so the parameter classification means nothing there"
        )
    # Stable, so that of equal values the first class comes first.
    order = np.argsort(-tensor.values.astype(np.float64), axis=1, kind="stable")[:, :count]
    best = np.empty(order.shape, dtype=object)
    for row, column in np.ndindex(order.shape):
        index = int(order[row, column])
        value = f"{float(tensor.values[row, index]):f}:{index}"
        best[row, column] = f"{value}:{labels[index]}" if labels else value
    return Tensor(tensor.name, BYTES, best)


def json_values(tensor: Tensor) -> Any:
    """The values as orjson writes them, in the shape of the tensor: lists of str, or a contiguous array of numbers.

    Raises:
        BadRequest: the datatype has no form in JSON, or a text of it is not UTF-8.
        PredictionNotFinite: a number is NaN or infinite.
    """
    if tensor.datatype == BYTES:
        return texts(tensor).tolist()
    if not DATATYPES[tensor.datatype].json_types:
        raise BadRequest(f"output '{tensor.name}' is {tensor.datatype}, which has no form in JSON; ask for it as binary data")
    values = tensor.values
    if values.dtype.kind == "f" and not all_finite(values):
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise PredictionNotFinite(
            f"row {row} (counted from 0) of output '{tensor.name}' holds a number that is not finite, which JSON cannot say; "
            "a value of the row may be far off, or ask for the output as binary data"
        )
    return np.ascontiguousarray(values)


@lru_cache(maxsize=256)  # a few for each version that is loaded: one for each number of rows
def _frame(model: str, version: str, name: str, datatype: str, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
    """What stands before and behind the values of a response with one output."""
    output = {"name": name, "datatype": datatype, "shape": shape, "data": []}
    text = orjson.dumps({"model_name": model, "model_version": version, "outputs": [output]})
    return text.removesuffix(_NO_VALUES + _BEHIND), _BEHIND


def _encoded(document: dict[str, Any], key: str, tensors: Sequence[tuple[Tensor, bool]]) -> Encoded:
    """The document with the tensors under `key`, and behind it those that go as raw bytes."""
    raw: list[bytes | memoryview] = []
    described: list[dict[str, Any]] = []
    for tensor, binary in tensors:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.values.shape}
        if binary:
            raw.append(to_bytes(tensor))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = _flat(json_values(tensor))
        described.append(entry)
    document[key] = described
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return Encoded(header, _JSON_HEADERS)
    return Encoded(b"".join([header, *raw]), {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(header))})


def _flat(values: list[Any] | NDArray[Any]) -> Any:
    """Row-major, as the protocol prefers it."""
    return values.ravel() if isinstance(values, np.ndarray) else np.array(values, dtype=object).ravel().tolist()
