"""JSON schemas of what a model is asked and answers by `:predict`, from its own columns or tensors, for the OpenAPI document.

Pure.
"""

from collections.abc import Sequence
from typing import Any

from windlass_infer.engine import TensorSignature
from windlass_infer.predictor import Predictor
from windlass_infer.tabular import TabularPredictor
from windlass_preprocess.features import CategoricalFeature, Feature

Schema = dict[str, Any]

_COLUMN_TYPES = {
    "int64": "integer",
    "float64": "number",
    "bool": "boolean",
    "string": "string",
    "date": "string",
    "timestamp": "string",
}
_FORMATS = {"date": "date", "timestamp": "date-time"}


def row_schema(predictor: Predictor) -> Schema:
    """One instance."""
    if isinstance(predictor, TabularPredictor):
        columns = {feature.column: _column(feature) for feature in predictor.transform.features}
        listed = {"type": "array", "items": {}, "minItems": len(columns), "maxItems": len(columns)}
        return {"oneOf": [_object(columns), listed]}
    if len(predictor.inputs) == 1:
        return _nested(predictor.inputs[0])
    return _object({signature.name: _nested(signature) for signature in predictor.inputs})


def answer_schema(predictor: Predictor) -> Schema:
    """The whole answer."""
    properties: Schema = {}
    if isinstance(predictor, TabularPredictor):
        item: Schema = {"enum": list(predictor.classes)} if predictor.classes else {"type": "number"}
        if predictor.classes:
            shares = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}
            sentence = "For each row one number a class, in the order of classes."
            properties["probabilities"] = {"type": "array", "items": shares, "description": sentence}
            properties["classes"] = {"type": "array", "items": item}
    else:
        outputs = {signature.name: _nested(signature) for signature in predictor.outputs}
        item = next(iter(outputs.values())) if len(outputs) == 1 else _object(outputs)
    properties["predictions"] = {"type": "array", "items": item, "description": "One a row, in the order of the instances."}
    properties["model"] = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "version": {"type": "integer"}, "digest": {"type": "string"}},
        "required": ["name", "version", "digest"],
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def row_sentence(predictor: Predictor) -> str:
    """What an instance is, in a sentence."""
    if isinstance(predictor, TabularPredictor):
        return "A row is an object by column name, or a list of values in the order of the columns."
    if len(predictor.inputs) == 1:
        return f"A row is one of {predictor.inputs[0]}, as nested lists."
    return f"A row is an object of {_listed(predictor.inputs)}, each as nested lists."


def _listed(signatures: Sequence[TensorSignature]) -> str:
    return ", ".join(map(str, signatures))


def _nested(signature: TensorSignature) -> Schema:
    """The values of one row as nested lists."""
    if signature.datatype == "BYTES":
        schema: Schema = {"type": "string"}
    elif signature.datatype == "BOOL":
        schema = {"type": "boolean"}
    else:
        schema = {"type": "integer" if "INT" in signature.datatype else "number"}
    for size in reversed(signature.shape[1:]):
        bounds = {"minItems": 1} if size < 0 else {"minItems": size, "maxItems": size}
        schema = {"type": "array", "items": schema, **bounds}
    return schema


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _column(feature: Feature) -> Schema:
    if isinstance(feature, CategoricalFeature):
        allowed: list[Any] = [*feature.categories, *([None] if feature.nullable else [])]
        return {"enum": allowed} if feature.unknown == "error" else {"type": [_COLUMN_TYPES[feature.type], "null"]}
    schema: Schema = {"type": _COLUMN_TYPES[feature.type]}
    if feature.fill is not None:
        schema["type"] = [schema["type"], "null"]
    if feature.type in _FORMATS:
        schema["format"] = _FORMATS[feature.type]
    return schema
