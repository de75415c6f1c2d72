"""One CustomResourceDefinition out of a kind: names, schema, subresources and printer columns put together. Pure."""

from typing import Any

import yaml

from windlass_core.crd.kinds import KINDS, Column, Kind
from windlass_core.crd.structural import structural_schema
from windlass_core.resources.common import API_GROUP, API_VERSION

CATEGORY = "windlass"  # `kubectl get windlass` lists all four kinds

_HEADER = "# Generated from the models in services/core/src/windlass_core/resources; change those and run `make generate`.\n"
_LINE_WIDTH = 120  # characters


def definitions() -> dict[str, dict[str, Any]]:
    """The CRDs of all kinds, by their names."""
    found = [definition(kind) for kind in KINDS]
    return {one["metadata"]["name"]: one for one in found}


def definition(kind: Kind) -> dict[str, Any]:
    """The CRD of a kind.

    Raises:
        ValueError: when one of its models says what a CRD cannot.
    """
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{API_GROUP}",
            "labels": {"app.kubernetes.io/part-of": "windlass"},
            # Helm deletes objects with the release that made them; deleting a CRD deletes every object of its kind.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "versions": [_version(kind)],
        },
    }


def to_yaml(crd: dict[str, Any]) -> str:
    """The CRD as the text of its file, always the same for the same models."""
    return _HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=_LINE_WIDTH, allow_unicode=True)


def _version(kind: Kind) -> dict[str, Any]:
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": kind.scale.spec_replicas,
            "statusReplicasPath": kind.scale.status_replicas,
            "labelSelectorPath": kind.scale.label_selector,
        }
    return {
        "name": API_VERSION,
        "served": True,
        "storage": True,
        "subresources": subresources,
        "additionalPrinterColumns": [_printer_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": _object_schema(kind)},
    }


def _object_schema(kind: Kind) -> dict[str, Any]:
    spec = structural_schema(kind.spec, defaults=True)
    # Where every field may be left out, so may the spec; whoever reads the object finds one all the same.
    presence = {"required": ["spec"]} if spec.get("required") else {}
    if not presence:
        spec["default"] = {}
    return {
        "description": kind.description,
        "type": "object",
        **presence,
        "x-kubernetes-validations": [{"rule": rule.rule, "message": rule.message} for rule in kind.rules],
        "properties": {"spec": spec, "status": structural_schema(kind.status, defaults=False)},
    }


def _printer_column(column: Column) -> dict[str, Any]:
    found = {"name": column.name, "type": column.type, "jsonPath": column.path, "description": column.description}
    return found | {"priority": 1} if column.wide else found


class _Dumper(yaml.SafeDumper):
    """Writes every value out: an anchor would tie unrelated fields together for a reader."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
