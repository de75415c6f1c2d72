"""What it costs to read a request and to write its answer, by form, datatype and size, against json and numpy.

    python bench/protocol.py

The baseline is what a handler writes by hand: `np.asarray(json.loads(body)["instances"], dtype)` in, and
`json.dumps(array.tolist())` out. Every figure is the best of several runs, because what disturbs a run only ever adds to it.
Measures our own code alone: no server, no model.
"""

import json
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import orjson

from windlass_core.manifests import ModelContent
from windlass_infer.datatypes import DATATYPES, Tensor
from windlass_infer.encoding import encode_request
from windlass_infer.engine import EngineSignature, TensorSignature
from windlass_infer.grpc import messages
from windlass_infer.grpc.open_inference_pb2 import ModelInferRequest
from windlass_infer.predictor import ServedVersion
from windlass_infer.protocol import HEADER_LENGTH, InferRequest
from windlass_infer.questions import Question, read_infer, read_predict
from windlass_infer.tensor_predictor import TensorPredictor

# Values in one row: a small table, an embedding, 64 x 64 pixels in colour, 224 x 224 pixels in colour.
SIZES = (4, 768, 12_288, 150_528)
DATATYPES_SHOWN = ("FP32", "FP64", "INT64", "UINT8")
# A figure is the best of so many runs, each of about so many seconds.
RUNS, RUN_SECONDS = 5, 0.05


@dataclass(frozen=True)
class Form:
    """One way to ask: how its request is read, and how its answer is written."""

    name: str
    read: Callable[[], Any]
    write: Callable[[], Any]


def main() -> None:
    """Print a table for each datatype."""
    print("Microseconds to read a request of one row and to write its answer, and how many times faster than json+numpy.")
    for datatype in DATATYPES_SHOWN:
        print(f"\n{datatype:<12}" + "".join(f"{f'{size:,} values':>38}" for size in SIZES))
        table: dict[str, str] = {}
        for size in SIZES:
            forms = _forms(datatype, size)
            read, write = _best(forms[0].read), _best(forms[0].write)
            for form in forms:
                mine = _best(form.read), _best(form.write)
                ratios = f"({read / mine[0]:,.1f}x {write / mine[1]:,.1f}x)"
                table[form.name] = table.get(form.name, "") + f"{mine[0] * 1e6:10.1f} {mine[1] * 1e6:9.1f} {ratios:>17}"
        for name, cells in table.items():
            print(f"{name:<12}{cells}")


def _forms(datatype: str, size: int) -> list[Form]:
    """The baseline first."""
    signature = TensorSignature("x", datatype, (-1, size))
    content = ModelContent(inputs=[], outputs=[], formats={}, parameters=0)
    version = ServedVersion("m", 1, "sha256:00", "m")
    predictor = TensorPredictor(version, content, EngineSignature((signature,), (signature,)))
    dtype = DATATYPES[datatype].dtype
    assert dtype is not None
    values = (np.random.default_rng(0).random((1, size)) * 100).astype(dtype)
    tensor = Tensor("x", datatype, values)
    instances = orjson.dumps({"instances": values}, option=orjson.OPT_SERIALIZE_NUMPY)
    as_json = encode_request(InferRequest((tensor,)), binary=False)
    binary = encode_request(InferRequest((tensor,), binary_by_default=True), binary=True)
    saved = BytesIO()
    np.save(saved, values)
    npy_body, raw_body = saved.getvalue(), values.tobytes()
    raw_call = ModelInferRequest(raw_input_contents=[raw_body])
    typed_call = ModelInferRequest()
    for message in (raw_call, typed_call):
        message.inputs.add(name="x", datatype=datatype, shape=values.shape)
    getattr(typed_call.inputs[0].contents, messages.FIELDS[datatype]).extend(values.ravel().tolist())

    def form(name: str, ask: Callable[[], Question]) -> Form:
        question = ask()
        return Form(name, ask, lambda: question.answer({"x": values}))

    def grpc(message: ModelInferRequest) -> Callable[[], Question]:
        body = message.SerializeToString()
        return lambda: messages.question(predictor, ModelInferRequest.FromString(body))

    length = {HEADER_LENGTH.lower().encode(): binary.headers[HEADER_LENGTH].encode()}
    npy = {b"content-type": b"application/x-npy", b"accept": b"application/x-npy"}
    raw = {b"content-type": b"application/octet-stream"}
    return [
        Form(
            "json+numpy",
            lambda: np.asarray(json.loads(instances)["instances"], dtype),
            lambda: json.dumps({"predictions": values.tolist()}).encode(),
        ),
        form("predict", lambda: read_predict(predictor, instances, {})),
        form("v2 JSON", lambda: read_infer(predictor, as_json.body, {})),
        form("v2 binary", lambda: read_infer(predictor, binary.body, length)),
        form("npy", lambda: read_predict(predictor, npy_body, npy)),
        form("raw values", lambda: read_infer(predictor, raw_body, raw)),
        form("gRPC raw", grpc(raw_call)),
        form("gRPC typed", grpc(typed_call)),
    ]


def _best(action: Callable[[], Any]) -> float:
    """Seconds of one call."""
    timer = timeit.Timer(action)
    once = max(timer.timeit(1), 1e-7)
    number = max(int(RUN_SECONDS / once), 1)
    return min(timer.repeat(RUNS, number)) / number


if __name__ == "__main__":
    main()
