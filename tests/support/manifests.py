"""Questions about lists of manifests. Knows no chart and no cluster."""

from collections.abc import Iterable, Iterator
from typing import Any

Manifest = dict[str, Any]


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    """Those of the kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def one(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The one of that kind and name."""
    found = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} times {kind}/{name}"
    return found[0]


def names(manifests: Iterable[Manifest]) -> set[str]:
    """Kind/name of each."""
    return {f"{manifest['kind']}/{manifest['metadata']['name']}" for manifest in manifests}


def pod_templates(manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    """Pod templates by the name of what holds them."""
    holders = of_kind(manifests, "Deployment", "StatefulSet", "DaemonSet", "Job")
    return {holder["metadata"]["name"]: holder["spec"]["template"] for holder in holders}


def selected(selector: Manifest, labels: Manifest) -> bool:
    """Whether labels match a selector of `matchLabels` and `matchExpressions` with In."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    within = all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))
    return equal and within


def environment(template: Manifest) -> dict[str, Any]:
    """Variables of a template's one container: a value, or where it comes from."""
    (container,) = template["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def strings(value: Any) -> Iterator[str]:
    """Every string within a manifest."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
