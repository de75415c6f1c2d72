"""The inference paths of the OpenAPI document, from the model that is served: its own columns, and an example that it answers.

Pure. The door takes these requests before the router sees them, so the router cannot describe them.
"""

from typing import Any

import numpy as np
import orjson

from windlass_infer.datatypes import DATATYPES, Tensor
from windlass_infer.predictor import FEATURES, Predictor
from windlass_infer.protocol import BINARY_TYPE, HEADER_LENGTH, JSON_TYPE, InferRequest, encode_request
from windlass_preprocess.features import CategoricalFeature, Feature

_JSON_TYPES = {
    "int64": "integer",
    "float64": "number",
    "bool": "boolean",
    "string": "string",
    "date": "string",
    "timestamp": "string",
}
_FORMATS = {"date": "date", "timestamp": "date-time"}
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
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "422": "A value cannot be computed with; row and column are named.",
    "429": "Too much is waiting; Retry-After says when to try again.",
    "500": "The model failed on this request.",
    "503": "The model is not loaded yet, or the server is stopping.",
}


def inference_paths(predictor: Predictor) -> dict[str, Any]:
    """The paths under which the model is asked, for the `paths` of an OpenAPI document."""
    version = predictor.version
    infer = _infer(predictor)
    return {
        f"/v1/models/{version.name}:predict": {"post": _predict(predictor)},
        f"/v2/models/{version.name}/infer": {"post": infer},
        f"/v2/models/{version.name}/versions/{version.number}/infer": {"post": infer | {"operationId": "inferVersion"}},
    }


def example_request(predictor: Predictor) -> InferRequest:
    """A V2 request for one row that the model answers."""
    row = predictor.example_row()
    if predictor.numeric:
        values = np.array([list(row.values())], dtype=np.float32)
        return InferRequest((Tensor(FEATURES, "FP32", values),))
    types = {signature.name: DATATYPES[signature.datatype].dtype for signature in predictor.inputs}
    return InferRequest(
        tuple(
            Tensor(signature.name, signature.datatype, np.array([[row[signature.name]]], dtype=types[signature.name] or object))
            for signature in predictor.inputs
        )
    )


def _predict(predictor: Predictor) -> dict[str, Any]:
    columns = {feature.column: _column_schema(feature) for feature in predictor.transform.features}
    named = {"type": "object", "properties": columns, "required": list(columns), "additionalProperties": False}
    listed = {"type": "array", "items": {}, "minItems": len(columns), "maxItems": len(columns)}
    return {
        "tags": ["inference"],
        "operationId": "predict",
        "summary": f"Predict '{predictor.label}' for rows",
        "description": "A row is an object by column name, or a list of values in the order of the columns.",
        "requestBody": {
            "required": True,
            "content": {
                JSON_TYPE: {
                    "schema": {
                        "type": "object",
                        "properties": {"instances": {"type": "array", "minItems": 1, "items": {"oneOf": [named, listed]}}},
                        "required": ["instances"],
                        "additionalProperties": False,
                    },
                    "example": {"instances": [predictor.example_row()]},
                }
            },
        },
        "responses": _responses(_predict_answer(predictor), _PROBLEM, "application/problem+json"),
    }


def _predict_answer(predictor: Predictor) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "number"}
    properties: dict[str, Any] = {}
    if predictor.classes:
        item = {"enum": list(predictor.classes)}
        shares = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}
        properties["probabilities"] = {
            "type": "array",
            "items": shares,
            "description": "For each row one number a class, in the order of classes.",
        }
        properties["classes"] = {"type": "array", "items": item}
    properties["predictions"] = {"type": "array", "items": item, "description": "One a row, in the order of the instances."}
    properties["model"] = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "version": {"type": "integer"}, "digest": {"type": "string"}},
        "required": ["name", "version", "digest"],
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _infer(predictor: Predictor) -> dict[str, Any]:
    tensor = {"type": "object", "properties": _TENSOR_PROPERTIES, "required": ["name", "datatype", "shape"]}
    names = {"type": "string", "enum": list(predictor.output_names)}
    wanted = {
        "type": "object",
        "properties": {"name": names, "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}}},
        "required": ["name"],
    }
    request = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Echoed in the answer."},
            "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
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
    example = orjson.loads(encode_request(example_request(predictor), binary=False).body)
    return {
        "tags": ["inference"],
        "operationId": "infer",
        "summary": "Infer by the Open Inference Protocol v2",
        "description": f"JSON, or the binary tensor data extension when {HEADER_LENGTH} is given.",
        "parameters": [
            {
                "name": HEADER_LENGTH,
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
                "description": "Bytes of JSON before the raw tensors; 0 for nothing but the values of the only input.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON_TYPE: {"schema": request, "example": example},
                BINARY_TYPE: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": _responses(answer, _V2_ERROR, JSON_TYPE),
    }


def _responses(answer: dict[str, Any], refusal: dict[str, Any], media_type: str) -> dict[str, Any]:
    refused = {
        status: {"description": sentence, "content": {media_type: {"schema": refusal}}}
        for status, sentence in _REFUSALS.items()
    }
    return {"200": {"description": "The answer.", "content": {JSON_TYPE: {"schema": answer}}}} | refused


def _column_schema(feature: Feature) -> dict[str, Any]:
    if isinstance(feature, CategoricalFeature):
        allowed: list[Any] = [*feature.categories, *([None] if feature.nullable else [])]
        return {"enum": allowed} if feature.unknown == "error" else {"type": [_JSON_TYPES[feature.type], "null"]}
    schema: dict[str, Any] = {"type": _JSON_TYPES[feature.type]}
    if feature.fill is not None:
        schema["type"] = [schema["type"], "null"]
    if feature.type in _FORMATS:
        schema["format"] = _FORMATS[feature.type]
    return schema
