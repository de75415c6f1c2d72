"""A pydantic model as a structural schema: the part of OpenAPI 3.0 that the API server takes for a CRD.

JSON schema as pydantic writes it differs in a handful of ways, each handled by one function here: references instead of
nesting, `anyOf` with null for optional fields, titles, exclusive bounds as numbers, defaults made by a factory. A keyword
that is neither known nor handled raises, so that nothing a model says is lost on the way. Knows no kind.

The rules of structural schemas: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, NoDefault
from pydantic_core import core_schema

from windlass_core.resources.common import INT_OR_STRING, PATTERN_MESSAGE, rules

Schema: TypeAlias = dict[str, Any]

# Keywords that pass as they are, in the order in which they are written.
_KEYWORDS = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    INT_OR_STRING,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
    "anyOf",
    "items",
    "additionalProperties",
    "required",
    "properties",
)
# The only `anyOf` that the API server allows beside int-or-string.
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def structural_schema(model: type[BaseModel], *, defaults: bool) -> Schema:
    """The structural schema of a model.

    Args:
        model: a pydantic model whose fields have descriptions.
        defaults: whether the API server fills in what is unset; wanted for a spec, while a status is only what was written.

    Raises:
        ValueError: when the model says something that a structural schema cannot.
    """
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return _Converter(schema.pop("$defs", {}), defaults).convert(schema, model.__name__)


class _Generator(GenerateJsonSchema):
    """Writes out the default that a factory makes."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        factory = schema.get("default_factory")
        if factory is None or schema.get("default_factory_takes_data"):
            return super().get_default_value(schema)
        default = factory()  # type: ignore[call-arg]  # takes no data, as tested above
        # In full, though nested defaults would fill an empty object: the API server holds CEL rules against it as it stands.
        value = default.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(default, BaseModel) else default
        # An empty object or list in every spec would only be noise.
        return value or NoDefault


class _Converter:
    """One conversion: carries the definitions that references point to."""

    def __init__(self, definitions: dict[str, Schema], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(self, schema: Schema, path: str) -> Schema:
        found = self._inlined(schema, path)
        found = _without_noise(found, self._defaults)
        if found.get("additionalProperties") is True:
            raise ValueError(f"{path}: a structural schema cannot hold a map of anything")
        found = _with_bounds(found)
        found = _with_sentence(found)
        if found.get(INT_OR_STRING):
            found.pop("type")
            found["anyOf"] = _INT_OR_STRING
        if unknown := sorted(found.keys() - set(_KEYWORDS)):
            raise ValueError(f"{path}: a structural schema cannot hold {', '.join(unknown)}")
        if "items" in found:
            found["items"] = self.convert(found["items"], f"{path}[]")
        if "additionalProperties" in found:
            found["additionalProperties"] = self.convert(found["additionalProperties"], f"{path}{{}}")
        if "properties" in found:
            found["properties"] = {name: self.convert(field, f"{path}.{name}") for name, field in found["properties"].items()}
        return {keyword: found[keyword] for keyword in _KEYWORDS if keyword in found}

    def _inlined(self, schema: Schema, path: str) -> Schema:
        """The schema with its reference or its one alternative to null put in place; what stands beside it wins."""
        beside = dict(schema)
        if "$ref" in beside:
            target = self._definitions[beside.pop("$ref").removeprefix("#/$defs/")]
        elif "anyOf" in beside:
            alternatives = [one for one in beside.pop("anyOf") if one != {"type": "null"}]
            if len(alternatives) != 1:
                raise ValueError(f"{path}: a structural schema cannot choose between types")
            target = alternatives[0]
        else:
            return beside
        return self._inlined(target, path) | beside


def _without_noise(schema: Schema, defaults: bool) -> Schema:
    """Leaves out titles, null as a default (absence says it) and the ban on unknown fields (the API server's own)."""
    found = dict(schema)
    found.pop("title", None)
    if found.get("additionalProperties") is False:
        found.pop("additionalProperties")
    if "default" in found and (found["default"] is None or not defaults):
        found.pop("default")
    return found


def _with_bounds(schema: Schema) -> Schema:
    """Writes exclusive bounds as OpenAPI 3.0 does, as a flag, and the width of integers."""
    found = dict(schema)
    for inclusive, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in found:
            found[inclusive], found[exclusive] = found[exclusive], True
    if found.get("type") == "integer":
        found["format"] = "int64"
    return found


def _with_sentence(schema: Schema) -> Schema:
    """Turns a pattern that has a message into a CEL rule: a user reads a sentence, and no regular expression."""
    found = dict(schema)
    if message := found.pop(PATTERN_MESSAGE, None):
        matches = f"self.matches(r'{found.pop('pattern')}')"
        found |= rules((f"type(self) == int ? self >= 0 : {matches}" if found.get(INT_OR_STRING) else matches, message))
    return found
