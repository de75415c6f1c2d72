"""The inference paths of the OpenAPI document, from the model that is served: what it takes, and examples.

Pure. The door takes these requests before the router sees them, so the router cannot describe them.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from windlass_infer.bodies.choice import taken_types
from windlass_infer.bodies.compression import OFFERED
from windlass_infer.bodies.npy import NPY_TYPE
from windlass_infer.bodies.table import CSV_TYPE
from windlass_infer.datatypes import DATATYPES, NUMERIC
from windlass_infer.engine import TensorSignature
from windlass_infer.examples import Example, infer_examples, predict_examples
from windlass_infer.openapi_rows import answer_schema, row_schema, row_sentence
from windlass_infer.predictor import Predictor
from windlass_infer.protocol import BINARY_TYPE, HEADER_LENGTH, JSON_TYPE
from windlass_infer.tabular import TabularPredictor

_TENSOR_PROPERTIES: dict[str, Any] = {
    "name": {"type": "string"},
    "datatype": {"type": "string", "enum": list(DATATYPES)},
    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    "data": {"type": "array", "items": {}, "description": "Nested as shape says, or flat in row-major order."},
    "parameters": {
        "type": "object",
        "properties": {
            "binary_data_size": {"type": "integer", "minimum": 0, "description": "Bytes of this tensor behind the JSON."}
        },
    },
}
_OUTPUT_PARAMETERS: dict[str, Any] = {
    "binary_data": {"type": "boolean", "description": "Whether it is answered as raw bytes behind the JSON."},
    "classification": {"type": "integer", "minimum": 0, "description": "Answer with the so many best classes of each row."},
}
_REQUEST_PARAMETERS: dict[str, Any] = {
    "binary_data_output": {"type": "boolean", "description": "Whether outputs are answered as raw bytes by default."},
    "timeout": {"type": "integer", "minimum": 0, "description": "Microseconds that the request may take; 0 for no limit."},
    "priority": {"type": "integer", "minimum": 0, "description": "1 is the highest; 0 stands for none."},
}
_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, where, and what to do."},
        "reason": {"type": "string", "description": "A stable word for programs."},
        "requestId": {"type": "string"},
    },
}
_V2_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_REFUSALS = {
    "400": "The request is not understood.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large, or becomes too large when it is unpacked.",
    "415": "The body is of a type or a coding that this model does not take; the sentence names those that it takes.",
    "422": "A value cannot be computed with; row and column are named.",
    "429": "Too much is waiting; Retry-After says when to try again.",
    "500": "The model failed on this request.",
    "503": "The model is not loaded yet, or the server is stopping.",
}
_BINARY_SENTENCES = {
    NPY_TYPE: "One array as numpy.save writes it, of the input's datatype and shape.",
    BINARY_TYPE: "The bare values of the input, little-endian and row-major; how many there are tells the rows.",
    "image/png": "One picture, which becomes one row: scaled to cover the input's height and width, its middle cut out.",
    "image/jpeg": "The same as JPEG.",
    CSV_TYPE: "A header of column names, then one line a row. An empty field is no value.",
}


def inference_paths(predictor: Predictor) -> dict[str, Any]:
    """The paths under which the model is asked, for the `paths` of an OpenAPI document."""
    version = predictor.version
    base = f"/v2/models/{version.name}"
    return {
        (path := f"/v1/models/{version.name}:predict"): {"post": _predict(predictor, path)},
        (path := f"{base}/infer"): {"post": _infer(predictor, path)},
        (path := f"{base}/versions/{version.number}/infer"): {
            "post": _infer(predictor, path) | {"operationId": "inferVersion"}
        },
    }


def _predict(predictor: Predictor, path: str) -> dict[str, Any]:
    request = {
        "type": "object",
        "properties": {"instances": {"type": "array", "minItems": 1, "items": row_schema(predictor)}},
        "required": ["instances"],
        "additionalProperties": False,
    }
    first = predictor.output_names[0]
    return {
        "tags": ["inference"],
        "operationId": "predict",
        "summary": "Predict for rows",
        "description": f"{row_sentence(predictor)} {_coding_sentence()} "
        f"With `Accept: {NPY_TYPE}` the answer is the output `{first}` as a .npy file, "
        f"or with `Accept: {NPY_TYPE}; output=<name>` another of {', '.join(predictor.output_names)}.",
        **_asked(predictor, path, request, predict_examples(predictor)),
        "responses": _responses(answer_schema(predictor), _PROBLEM, "application/problem+json", npy=True),
    }


def _infer(predictor: Predictor, path: str) -> dict[str, Any]:
    tensor = {"type": "object", "properties": _TENSOR_PROPERTIES, "required": ["name", "datatype", "shape"]}
    given = [_input_schema(predictor, signature) for signature in predictor.inputs]
    wanted = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": list(predictor.output_names)},
            "parameters": {"type": "object", "properties": _OUTPUT_PARAMETERS},
        },
        "required": ["name"],
    }
    request = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Echoed in the answer."},
            "parameters": {"type": "object", "properties": _REQUEST_PARAMETERS},
            "inputs": {
                "type": "array",
                "items": given[0] if len(given) == 1 else {"oneOf": given},
                "minItems": len(given),
                "maxItems": len(given),
            },
            "outputs": {"type": "array", "items": wanted},
        },
        "required": ["inputs"],
    }
    answer = {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": tensor},
        },
        "required": ["model_name", "model_version", "outputs"],
    }
    inputs = "; ".join(map(str, predictor.inputs))
    return {
        "tags": ["inference"],
        "operationId": "infer",
        "summary": "Infer by the Open Inference Protocol v2",
        "description": f"Inputs: {inputs}. JSON, or the binary tensor data extension when {HEADER_LENGTH} is given. "
        f"{_coding_sentence()}",
        "parameters": [
            {
                "name": HEADER_LENGTH,
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
                "description": "Bytes of JSON before the raw tensors; 0 for nothing but the values of the only input.",
            }
        ],
        **_asked(predictor, path, request, infer_examples(predictor)),
        "responses": _responses(answer, _V2_ERROR, JSON_TYPE, npy=False),
    }


def _input_schema(predictor: Predictor, signature: TensorSignature) -> dict[str, Any]:
    """One input of the protocol: columns of numbers take every width of them."""
    widths = isinstance(predictor, TabularPredictor) and signature.datatype in NUMERIC
    properties = _TENSOR_PROPERTIES | {
        "name": {"const": signature.name},
        "datatype": {"enum": sorted(NUMERIC) if widths else [signature.datatype]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "description": str(signature)},
    }
    return {"type": "object", "properties": properties, "required": ["name", "datatype", "shape"]}


def _asked(predictor: Predictor, path: str, request: dict[str, Any], examples: Sequence[Example]) -> dict[str, Any]:
    """The request body of each media type, and shell code for each example."""
    binary = {"type": "string", "format": "binary"}
    content: dict[str, Any] = {JSON_TYPE: {"schema": request}}
    taken = {*taken_types(predictor), *(example.media_type for example in examples)} - {JSON_TYPE}
    for media_type in sorted(taken):
        content[media_type] = {"schema": binary | {"description": _BINARY_SENTENCES[media_type]}}
    for example in examples:
        if example.media_type == JSON_TYPE:
            content[JSON_TYPE]["example"] = orjson.loads(example.body)
        elif example.media_type == CSV_TYPE:
            content[CSV_TYPE]["example"] = example.body.decode()
    samples = [{"lang": "Shell", "label": example.title, "source": example.shell(path)} for example in examples]
    return {"requestBody": {"required": True, "content": content}, "x-codeSamples": samples}


def _coding_sentence() -> str:
    return (
        f"Bodies may be packed (Content-Encoding gzip, deflate or zstd); large answers are, on request ({', '.join(OFFERED)})."
    )


def _responses(answer: dict[str, Any], refusal: dict[str, Any], media_type: str, *, npy: bool) -> dict[str, Any]:
    refused = {
        status: {"description": sentence, "content": {media_type: {"schema": refusal}}}
        for status, sentence in _REFUSALS.items()
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {JSON_TYPE: {"schema": answer}, NPY_TYPE if npy else BINARY_TYPE: binary}
    return {"200": {"description": "The answer.", "content": content}} | refused
