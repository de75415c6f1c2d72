"""Requests for the infer service that begin as good ones and are damaged: bytes, JSON, framing, headers, packing, messages.

Deterministic: the same seed gives the same cases. Whatever comes of a case, the server's answer to it must be one of its own.
"""

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from windlass_infer.datatypes import DATATYPES, to_bytes
from windlass_infer.examples import infer_examples, predict_examples
from windlass_infer.grpc import open_inference_pb2 as wire
from windlass_infer.predictor import Predictor
from windlass_infer.protocol import HEADER_LENGTH

MEBIBYTE = 1024 * 1024
PREDICT, INFER = "predict", "infer"

TYPES = [
    "application/json",
    "application/x-npy",
    "application/octet-stream",
    "image/png",
    "image/jpeg",
    "text/csv",
    "text/html",
    "",
    "application/json; charset=utf-8",
    ";;,,==",
]
CODINGS = ["gzip", "deflate", "zstd", "br", "identity", "gzip, gzip", "", "x" * 99]
ACCEPTED = [
    "*/*",
    "application/x-npy",
    "application/x-npy; output=label",
    "application/x-npy;output=zz",
    "application/json",
    ",;q",
]
TIMES = ["1", "0.5", "1e9", "-1", "0", "nan", "inf", "1e-9", "soon", ""]
LENGTHS = ["0", "-1", "1", "99999999999999999999", "x", "", "4294967296", "٣"]
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, 1e308, -1e308, 5e-324, "", "x", "é" * 40,
    "x" * 5000, [], {}, [[]], [[[[]]]], [None], [1, "a", None], {"a": {"b": []}}, "NaN", "\0", 255, 256, "BYTES", "FP32",
]  # fmt: skip
ODD_BYTES = [
    b"",
    b"\0",
    b"\xff",
    b"\0" * 64,
    b"\xff" * 8,
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 40,
    b"{",
    b"[" * 3000,
    b'"',
    b"\\u0000",
]
NOT_FINITE = [struct.pack("<f", value) for value in (float("nan"), float("inf"), float("-inf"), 3.4e38, -0.0, 1e-45)]


@dataclass(frozen=True)
class Case:
    """One request. `kind` says what was done to it; `call` is PREDICT or INFER."""

    kind: str
    call: str
    headers: dict[str, str]
    body: bytes


class Cases:
    """Cases for one model."""

    def __init__(self, predictor: Predictor, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # for tests
        self._good = [(PREDICT, example) for example in predict_examples(predictor)]
        self._good += [(INFER, example) for example in infer_examples(predictor)]
        self._predictor = predictor
        self._damages: list[tuple[str, Callable[[Case], Case]]] = [
            ("bytes", self._bytes),
            ("json", self._json),
            ("length", self._length),
            ("headers", self._headers),
            ("packed", self._packed),
            ("values", self._values),
            ("frame", self._frame),
        ]

    def http(self) -> Iterator[Case]:
        """Requests over HTTP without end; some are good."""
        while True:
            call, example = self._random.choice(self._good)
            case = Case("", call, {"Content-Type": example.media_type, **example.headers}, example.body)
            for _ in range(self._random.choice((0, 1, 1, 1, 2, 3))):
                kind, damage = self._random.choice(self._damages)
                case = replace(damage(case), kind=f"{case.kind} {kind}".strip())
            yield case

    def grpc(self, name: str) -> Iterator[bytes]:
        """Messages for ModelInfer without end; some are good."""
        while True:
            message = self._message(name)
            for _ in range(self._random.choice((0, 1, 1, 2))):
                self._damage_message(message)
            body = message.SerializeToString()
            yield self._damaged(body) if self._random.random() < 0.3 else body

    def _bytes(self, case: Case) -> Case:
        return replace(case, body=self._damaged(case.body))

    def _damaged(self, body: bytes) -> bytes:
        at, to = sorted(self._random.randrange(len(body) + 1) for _ in range(2))
        match self._random.randrange(6):
            case 0:
                return body[:at]
            case 1:
                return body[:at] + self._random.choice(ODD_BYTES) + body[at:]
            case 2:
                return body[:at] + self._random.choice(ODD_BYTES) + body[to:]
            case 3:
                return body[:to] + body[at:to] * self._random.choice((1, 2, 20)) + body[to:]
            case 4:
                changed = bytearray(body)
                for _ in range(self._random.choice((1, 2, 8))):
                    if changed:
                        changed[self._random.randrange(len(changed))] = self._random.randrange(256)
                return bytes(changed)
            case _:
                return self._random.randbytes(self._random.choice((0, 1, 7, 64, 500)))

    def _json(self, case: Case) -> Case:
        try:
            document = orjson.loads(case.body)
        except orjson.JSONDecodeError:
            return replace(case, body=self._damaged(case.body))
        for _ in range(self._random.choice((1, 1, 2, 4))):
            document = self._changed(document)
        return replace(case, body=orjson.dumps(document))

    def _changed(self, value: Any) -> Any:
        """The document with one place of it changed."""
        chance = self._random.random()
        if not isinstance(value, dict | list) or not value or chance < 0.1:
            return self._random.choice(ODD_VALUES)
        if isinstance(value, list):
            at = self._random.randrange(len(value))
            if chance < 0.2:
                return value[:at] + value[at + 1 :]
            if chance < 0.3:
                return value[: at + 1] * self._random.choice((2, 3, 30))
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        key = self._random.choice(list(value))
        if chance < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        if chance < 0.3:
            return value | {self._random.choice(("parameters", "outputs", "x", "", "data")): self._random.choice(ODD_VALUES)}
        return value | {key: self._changed(value[key])}

    def _length(self, case: Case) -> Case:
        lies = [*LENGTHS, str(len(case.body)), str(len(case.body) + 1), str(max(len(case.body) - 1, 0))]
        return replace(case, headers=case.headers | {HEADER_LENGTH: self._random.choice(lies)})

    def _headers(self, case: Case) -> Case:
        choices = {
            "Content-Type": TYPES,
            "Content-Encoding": CODINGS,
            "Accept": ACCEPTED,
            "Accept-Encoding": CODINGS,
            "Request-Timeout": TIMES,
        }
        name = self._random.choice(list(choices))
        return replace(case, headers=case.headers | {name: self._random.choice(choices[name])})

    def _packed(self, case: Case) -> Case:
        coding = self._random.choice(("gzip", "deflate"))
        # One in a hundred is a bomb: ten times what a body may be.
        body = b"\0" * (80 * MEBIBYTE) if self._random.random() < 0.01 else case.body
        packed = gzip.compress(body, 1) if coding == "gzip" else zlib.compress(body, 1)
        if self._random.random() < 0.5:
            packed = self._damaged(packed)
        return replace(case, headers=case.headers | {"Content-Encoding": coding}, body=packed)

    def _values(self, case: Case) -> Case:
        """Numbers that are not finite, at any place of four bytes."""
        body = bytearray(case.body)
        for _ in range(self._random.choice((1, 3))):
            if len(body) >= 4:
                at = self._random.randrange(len(body) // 4) * 4
                body[at : at + 4] = self._random.choice(NOT_FINITE)
        return replace(case, body=bytes(body))

    def _frame(self, case: Case) -> Case:
        """Tensors of any datatype, shape and size, with lengths that lie."""
        inputs, raw = [], b""
        for tensor in self._predictor.example_tensors(1):
            piece = bytes(to_bytes(tensor))
            size: Any = self._random.choice((len(piece), len(piece), len(piece) + 1, 0, -1, 2**62, "8", None, 1.5))
            shape: Any = self._random.choice(
                (list(tensor.values.shape), [-1, 3], [0], [2**31 - 1] * 8, [1] * 20, [2**63], [], "x")
            )
            kind = self._random.choice((tensor.datatype, tensor.datatype, *DATATYPES, "FLOAT", 7))
            inputs.append({"name": tensor.name, "shape": shape, "datatype": kind, "parameters": {"binary_data_size": size}})
            raw += self._random.choice((piece, piece, piece[:-1], self._damaged(piece)))
        header = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": self._random.random() < 0.5}})
        length = str(len(header) + self._random.choice((0, 0, 0, 1, -1)))
        return Case(case.kind, INFER, {HEADER_LENGTH: length}, header + raw)

    def _message(self, name: str) -> wire.ModelInferRequest:
        message = wire.ModelInferRequest(model_name=name)
        for tensor in self._predictor.example_tensors(1):
            message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
            message.raw_input_contents.append(bytes(to_bytes(tensor)))
        return message

    def _damage_message(self, message: wire.ModelInferRequest) -> None:
        entry = self._random.choice(message.inputs) if message.inputs else message.inputs.add()
        match self._random.randrange(8):
            case 0:
                entry.shape[:] = self._random.choice(([], [-1], [0, 3], [2**62] * 8, [1] * 20))
            case 1:
                entry.datatype = self._random.choice((*DATATYPES, "", "FLOAT"))
            case 2:
                entry.contents.fp32_contents.extend([float("nan"), 1.0])
            case 3:
                entry.contents.int_contents.extend([2**31 - 1, -1])
            case 4:
                entry.contents.bytes_contents.append(b"\xff\0")
                del message.raw_input_contents[:]
            case 5:
                message.outputs.add(name=self._random.choice((*self._predictor.output_names, "zz", "")))
                message.outputs[0].parameters["classification"].int64_param = self._random.choice((-1, 1, 2**62))
            case 6:
                message.parameters[self._random.choice(("timeout", "priority", "sequence_id", ""))].double_param = -0.5
            case _:
                if message.raw_input_contents:
                    message.raw_input_contents[0] = self._damaged(message.raw_input_contents[0])
