"""A CRD as a page of documentation: what the object is, its columns, every field of spec and status, the rules.

Made from the finished CRD and not from the models, so that the page says exactly what the API server does. Pure.
"""

from collections.abc import Iterable, Iterator
from typing import Any

_HEADER = "<!-- Generated from the models in services/core/src/windlass_core/resources; run `make generate`. -->\n"


def pages(crds: Iterable[dict[str, Any]]) -> dict[str, str]:
    """File names and texts: one page for each CRD, named by its kind in lower case, and a page that lists them."""
    by_name = {f"{crd['spec']['names']['singular']}.md": crd for crd in crds}
    return {"README.md": _list(by_name)} | {name: page(crd) for name, crd in by_name.items()}


def page(crd: dict[str, Any]) -> str:
    """The page of one CRD, in Markdown."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    sections = [
        f"{_HEADER}# {names['kind']}",
        schema["description"],
        f"`apiVersion: {crd['spec']['group']}/{version['name']}` · short name `{names['shortNames'][0]}`",
        "## Spec",
        schema["properties"]["spec"]["description"],
        _table(("Field", "Type", "Default", "Meaning"), _spec_rows(schema["properties"]["spec"], "spec")),
        "## Rules",
        "The API server refuses an object that breaks one of these.",
        "\n".join(f"- {message}." for message in dict.fromkeys(_rules(schema))),
        "## Status",
        schema["properties"]["status"]["description"],
        _table(("Field", "Type", "Meaning"), _status_rows(schema["properties"]["status"], "status")),
        "## Columns of `kubectl get`",
        "Those marked wide stand under `-o wide` only.",
        _table(("Column", "Meaning"), _column_rows(version["additionalPrinterColumns"])),
    ]
    return "\n\n".join(sections) + "\n"


def _list(crds: dict[str, dict[str, Any]]) -> str:
    lines = [f"- [{crd['spec']['names']['kind']}]({name}){_told_of(crd)}" for name, crd in crds.items()]
    return "\n".join([f"{_HEADER}# Reference", "", "`kubectl explain` says the same on the command line.", "", *lines, ""])


def _told_of(crd: dict[str, Any]) -> str:
    description: str = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"]
    return description.removeprefix(crd["spec"]["names"]["kind"])


def _spec_rows(schema: dict[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        yield f"`{path}.{name}`", _type(field), default, field["description"]
        yield from _spec_rows(*_inner(field, f"{path}.{name}"))


def _status_rows(schema: dict[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    for name, field in schema.get("properties", {}).items():
        yield f"`{path}.{name}`", _type(field), field["description"]
        yield from _status_rows(*_inner(field, f"{path}.{name}"))


def _inner(field: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    return (field["items"], f"{path}[]") if "items" in field else (field, path)


def _column_rows(columns: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for column in columns:
        wide = " (wide)" if column.get("priority") else ""
        yield column["name"].upper() + wide, column["description"]


def _rules(schema: dict[str, Any]) -> Iterator[str]:
    """Messages of all CEL rules, outermost first."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield rule["message"]
    for field in schema.get("properties", {}).values():
        yield from _rules(field.get("items", field))


def _type(field: dict[str, Any]) -> str:
    """Type and bounds in a few words."""
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in field:
        return f"list of {_plain_type(field['items'])}{_count(field)}"
    if "additionalProperties" in field:
        return f"map of {_plain_type(field['additionalProperties'])}"
    return _plain_type(field) + _bounds(field)


def _plain_type(field: dict[str, Any]) -> str:
    return "time" if field.get("format") == "date-time" else str(field["type"])


def _bounds(field: dict[str, Any]) -> str:
    above = "above " if field.get("exclusiveMinimum") else "from "
    below = "below " if field.get("exclusiveMaximum") else "to "
    words = [above + _number(field["minimum"])] if "minimum" in field else []
    words += [below + _number(field["maximum"])] if "maximum" in field else []
    return f", {' '.join(words)}" if words else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _count(field: dict[str, Any]) -> str:
    least, most = field.get("minItems"), field.get("maxItems")
    if least is not None and least == most:
        return f", exactly {least}"
    return f", at most {most:,}" if most is not None else ""


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    # The default of an object stands with its fields.
    return "" if default is None or isinstance(default, dict) else f"`{default}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
