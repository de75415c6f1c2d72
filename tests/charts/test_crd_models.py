"""The CRDs' schemas and the models are of one mind: on what is taken, on what is refused, on what absence means."""

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field, ValidationError

from windlass_core.crd import KINDS, Kind, structural_schema
from windlass_core.resources.common import ComputeResources
from windlass_core.resources.training_job import Stop

Schema = dict[str, Any]


# The least that a user must write, and the fullest there is, of each kind.
EXAMPLES: dict[str, list[Schema]] = {
    "Dataset": [
        {"source": {"uri": "store://raw/x.csv"}},
        {
            "source": {"uri": "store://raw/*.parquet", "format": "parquet"},
            "label": "y",
            "task": "regression",
            "split": {"validation": 0.2, "test": 0.2, "seed": 1},
            "steps": [
                {"drop": {"columns": ["a"]}},
                {"scale": {"method": "minMax", "columns": ["b"]}},
                {"encode": {"method": "ordinal", "unknown": "ignore", "columns": ["c"]}},
            ],
            "resources": {"cpu": 2, "memory": "1Gi"},
        },
    ],
    "TrainingJob": [
        {"dataset": {"name": "x"}, "model": {"name": "x", "recipe": "linear"}},
        {
            "dataset": {"name": "x", "version": 3},
            "model": {
                "name": "x",
                "recipe": "cnn",
                "parameters": {
                    "hidden": [8],
                    "dropout": 0.5,
                    "channels": [4],
                    "image": [1, 8, 8],
                    "optimizer": "sgd",
                    "learningRate": 0.1,
                    "momentum": 0.5,
                    "weightDecay": 0.1,
                    "batchSize": 2,
                    "clipNorm": 1.5,
                    "seed": 1,
                },
            },
            "workers": 2,
            "resources": {"cpu": "500m", "memory": "1Gi", "gpu": {"count": 1}},
            "checkpoint": {"every": 5, "keep": 1},
            "stop": {"epochs": 1, "steps": 10, "patience": 2, "deadlineSeconds": 60},
            "restarts": {"max": 0},
            "publish": {"alias": "production"},
        },
    ],
    "Model": [{}, {"aliases": [{"name": "production", "version": 1}]}],
    "InferenceService": [
        {"model": {"name": "x", "alias": "production"}},
        {
            "model": {"name": "x", "version": 2},
            "replicas": {"min": 2, "max": 9},
            "scale": {"target": 50, "downAfterSeconds": 0},
            "resources": {"cpu": 1, "memory": "1Gi", "gpu": {"count": 1}},
            "engine": "torch",
            "allowedLoss": 0.01,
            "slo": {"p99": "50ms"},
            "batch": {"max": 32},
            "cache": "64Mi",
            "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
        },
    ],
}
every_example = pytest.mark.parametrize(
    ("kind", "example"),
    [
        pytest.param(kind, example, id=f"{kind.name}, {words}")
        for kind in KINDS
        for example, words in zip(EXAMPLES[kind.name], ("as short as can be", "with everything"), strict=True)
    ],
)


def with_defaults(schema: Schema, value: Any) -> Any:
    """What the API server makes of a value: absent fields get their defaults, level by level."""
    if isinstance(value, list):
        return [with_defaults(schema["items"], item) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    filled = dict(value)
    for name, field in schema["properties"].items():
        if name not in filled and "default" in field:
            filled[name] = copy.deepcopy(field["default"])
        if name in filled:
            filled[name] = with_defaults(field, filled[name])
    return filled


def without_empty(value: Any) -> Any:
    """A value without empty objects and lists in it, which mean the same as none."""
    if not isinstance(value, dict):
        return value
    inner = {name: without_empty(one) for name, one in value.items()}
    return {name: one for name, one in inner.items() if one not in ({}, [])}


def draft_7(schema: Any) -> Any:
    """The schema as draft 7 writes it: exclusive bounds are numbers, and no field is unknown."""
    if isinstance(schema, list):
        return [draft_7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: draft_7(value) for name, value in schema.items()}
    for inclusive, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if found.get(exclusive) is True:
            found[exclusive] = found.pop(inclusive)
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found["additionalProperties"] = False
    return found


@every_example
def test_the_schema_takes_what_the_model_takes(kind: Kind, example: Schema) -> None:
    kind.spec.model_validate(example)
    jsonschema.Draft7Validator(draft_7(structural_schema(kind.spec, defaults=True))).validate(example)


@every_example
def test_the_api_server_fills_in_what_the_model_would(kind: Kind, example: Schema) -> None:
    filled = with_defaults(structural_schema(kind.spec, defaults=True), example)
    model = kind.spec.model_validate(example)
    assert kind.spec.model_validate(filled) == model
    dumped = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert set(named_paths(without_empty(filled))) == set(named_paths(without_empty(dumped)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_examples_name_every_field(kind: Kind) -> None:
    named = {path for example in EXAMPLES[kind.name] for path in named_paths(example)}
    assert set(field_paths(structural_schema(kind.spec, defaults=True))) == named


def field_paths(schema: Schema, path: str = "") -> Iterator[str]:
    """Path of every field below a schema."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from field_paths(field.get("items", field), f"{path}.{name}")


def named_paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from named_paths(item, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            yield from named_paths(inner, f"{path}.{name}")


class Either(BaseModel):
    """A model that no structural schema can hold."""

    value: int | list[int] = Field(description="One or many.")


class Anything(BaseModel):
    """A model whose content is not known."""

    value: dict[str, Any] = Field(description="Whatever it is.")


@pytest.mark.parametrize("model", [Either, Anything], ids=["a choice of types", "a map of anything"])
def test_what_no_crd_can_say_is_an_error_and_not_lost(model: type[BaseModel]) -> None:
    with pytest.raises(ValueError, match=rf"{model.__name__}\.value.*structural schema cannot"):
        structural_schema(model, defaults=True)


@pytest.mark.parametrize(
    ("cpu", "memory"), [("1", "512Mi"), ("500m", "1.5Gi"), ("0.5", "2G"), (2, 1_000_000_000), ("1.5", "64M")]
)
def test_the_quantities_that_people_write_are_taken(cpu: str | int, memory: str | int) -> None:
    resources = ComputeResources.model_validate({"cpu": cpu, "memory": memory})
    assert (resources.cpu, resources.memory) == (str(cpu), str(memory))


def test_a_deadline_is_a_time_that_comes() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 2147483647"):
        Stop.model_validate({"deadlineSeconds": 10**12})


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"resources": {"memory": "2 GB"}}, id="no quantity"),
        pytest.param({"resources": {"cpu": True}}, id="a truth as a quantity"),
        pytest.param({"resources": {"memory": "512m"}}, id="thousandths of bytes"),
        pytest.param({"resources": {"cpu": "2Gi"}}, id="bytes of cores"),
        pytest.param({"source": {"uri": "/data/x.csv"}}, id="no address in the store"),
        pytest.param({"lable": "y"}, id="an unknown field"),
    ],
)
def test_the_models_refuse_what_the_api_server_refuses(bad: Schema) -> None:
    dataset = next(kind for kind in KINDS if kind.name == "Dataset")
    with pytest.raises(ValidationError):
        dataset.spec.model_validate({"source": {"uri": "store://raw/x.csv"}} | bad)
