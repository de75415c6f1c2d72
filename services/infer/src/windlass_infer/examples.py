"""A request of each kind that a model answers: what the OpenAPI document shows, and shell code to send it.

Pure. Every example is one row of ordinary values, always the same.
"""

import base64
import csv
import gzip
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import orjson

from windlass_infer.bodies.choice import IMAGE_FORMATS
from windlass_infer.bodies.npy import NPY_TYPE, write_npy
from windlass_infer.bodies.raw import shape_follows
from windlass_infer.bodies.table import CSV_TYPE
from windlass_infer.datatypes import DATATYPES, Tensor, to_bytes
from windlass_infer.encoding import encode_request
from windlass_infer.predictor import ImageInput, Predictor
from windlass_infer.protocol import BINARY_TYPE, HEADER_LENGTH, JSON_TYPE, InferRequest
from windlass_infer.tabular import TabularPredictor

# A row of more values is shown in its binary forms only: as JSON it would be most of the document.
MAX_JSON_VALUES = 4096
# Where a picture's size is free, that of the example in pixels.
PICTURE_SIZE = 32
# Bodies beyond this are packed before they are written as text.
_PACK_FROM_BYTES = 512
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Example:
    """One request: its body and the headers that say what it is."""

    media_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What distinguishes it from the others."""
        return f"{self.media_type}, {HEADER_LENGTH}" if HEADER_LENGTH in self.headers else self.media_type

    def shell(self, path: str) -> str:
        """Code for a POSIX shell that sends it to `path` of the server at $URL."""
        said = "".join(f" -H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items())
        send = f"curl -sS --fail-with-body --data-binary @- -H 'Content-Type: {self.media_type}'{said}"
        return f'{self._written()} | {send} "${{URL:-http://localhost:8080}}{path}"'

    def _written(self) -> str:
        if self.media_type in (JSON_TYPE, CSV_TYPE):
            return f"printf %s {shlex.quote(self.body.decode())}"
        packed = len(self.body) > _PACK_FROM_BYTES
        text = base64.b64encode(gzip.compress(self.body, mtime=0) if packed else self.body).decode()
        return f"printf %s {text} | base64 -d{' | gunzip' if packed else ''}"


def predict_examples(predictor: Predictor) -> list[Example]:
    """Requests of `:predict`, one a media type that the model takes."""
    examples = []
    if _values(predictor) <= MAX_JSON_VALUES:
        examples.append(Example(JSON_TYPE, orjson.dumps({"instances": predictor.example_instances(1)})))
    return examples + _bodies(predictor)


def infer_examples(predictor: Predictor) -> list[Example]:
    """V2 requests: as JSON, with binary tensors, and one a further media type that the model takes."""
    request = InferRequest(tuple(predictor.example_tensors(1)))
    examples = []
    if _values(predictor) <= MAX_JSON_VALUES and all(DATATYPES[tensor.datatype].json_types for tensor in request.inputs):
        examples.append(Example(JSON_TYPE, encode_request(request, binary=False).body))
    binary = encode_request(request, binary=True)
    examples.append(Example(BINARY_TYPE, binary.body, {HEADER_LENGTH: binary.headers[HEADER_LENGTH]}))
    return examples + _bodies(predictor)


def _bodies(predictor: Predictor) -> list[Example]:
    examples = []
    if predictor.only_input is not None:
        [tensor] = predictor.example_tensors(1)
        examples += [Example(BINARY_TYPE, bytes(to_bytes(tensor)))] if shape_follows(predictor.only_input) else []
        examples += [Example(NPY_TYPE, write_npy(tensor.values))] if tensor.datatype != "BF16" else []
    if predictor.image is not None:
        examples += [Example(media_type, _picture(predictor.image, name)) for media_type, name in IMAGE_FORMATS.items()]
    if isinstance(predictor, TabularPredictor):
        examples.append(Example(CSV_TYPE, _table(predictor.example_instances(1)[0])))
    return examples


def _values(predictor: Predictor) -> int:
    tensors: list[Tensor] = predictor.example_tensors(1)
    return sum(tensor.values.size for tensor in tensors)


def _table(row: Mapping[str, Any]) -> bytes:
    written = StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(row)
    writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in row.values())
    return written.getvalue().encode()


def _picture(target: ImageInput, file_format: str) -> bytes:
    """Brightness from left to right."""
    from PIL import Image

    height, width = (size if size > 0 else PICTURE_SIZE for size in (target.height, target.width))
    brightness = np.linspace(0, 255, width).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(brightness, (height, width)).copy()).convert(_MODES[target.channels])
    written = BytesIO()
    # JPEG has no transparency.
    (picture.convert("RGB") if file_format == "JPEG" else picture).save(written, file_format)
    return written.getvalue()
