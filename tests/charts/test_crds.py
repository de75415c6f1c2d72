"""The CRDs: current, small, structural, explained; what kubectl shows and Helm keeps."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import of_kind

from windlass_core.crd import KINDS, Kind, definition

Manifest = dict[str, Any]
Schema = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "charts" / "windlass" / "files" / "crds"
COMPACT_BYTES = 60 * 1024  # kubectl apply keeps a copy in an annotation of at most 256 KiB, and etcd takes objects of 1.5 MiB
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field below a schema, with its path."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field.get("items", field), f"{path}.{name}")


def test_the_charts_crds_and_the_reference_are_what_the_models_say() -> None:
    folders = [str(CRDS), str(ROOT / "docs" / "reference")]
    done = subprocess.run(
        [sys.executable, "-m", "windlass_core.crd", "--check", *folders],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_files_that_are_not_current_are_named_and_written(tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "windlass_core.crd", *options, str(tmp_path / "crds"), str(tmp_path / "pages")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run("--check").returncode == 1
    assert run().returncode == 0
    (tmp_path / "crds" / "models.windlass.dev.yaml").write_text("old", encoding="utf-8")
    (tmp_path / "pages" / "gone.md").touch()
    stale = run("--check")
    assert stale.returncode == 1
    assert {line.split(" ")[0].rpartition("/")[2] for line in stale.stderr.splitlines()} == {
        "models.windlass.dev.yaml",
        "gone.md",
    }
    assert run().returncode == 0
    assert run("--check").returncode == 0
    assert run().stdout == "", "what is current is not written again"


@every_kind
def test_a_crd_is_small(kind: Kind) -> None:
    assert len(json.dumps(definition(kind), separators=(",", ":"))) < COMPACT_BYTES


@every_kind
def test_every_field_is_explained_in_a_sentence(kind: Kind) -> None:
    schema = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, field in fields(schema):
        assert field.get("description", "").endswith("."), f"{kind.name}{path}: {field.get('description')}"


@every_kind
def test_the_schema_is_structural(kind: Kind) -> None:
    def walk(node: Schema, path: str) -> None:
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert "$ref" not in node, path
        assert "anyOf" not in node or node.get("x-kubernetes-int-or-string"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert set(node.get("required", [])) <= node.get("properties", {}).keys(), path
        for name, inner in node.get("properties", {}).items():
            walk(inner, f"{path}.{name}")
        for keyword in ("items", "additionalProperties"):
            if keyword in node:
                walk(node[keyword], f"{path}[]")

    walk(definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"], kind.name)


@every_kind
def test_lists_that_users_merge_have_keys(kind: Kind) -> None:
    status = dict(fields(definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))[".status.conditions"]
    assert status["x-kubernetes-list-type"] == "map"
    assert status["x-kubernetes-list-map-keys"] == ["type"]


@every_kind
def test_every_column_leads_to_a_field(kind: Kind) -> None:
    version = definition(kind)["spec"]["versions"][0]
    known = {path for path, _ in fields(version["schema"]["openAPIV3Schema"])} | {".metadata.creationTimestamp"}
    for column in version["additionalPrinterColumns"]:
        plain = column["jsonPath"].partition("[?(@.type==")
        assert plain[0] in known, column["jsonPath"]
        assert plain[1] or column["jsonPath"] in known
        assert column["description"].endswith(".")


@every_kind
def test_a_column_of_a_condition_takes_it_by_its_type(kind: Kind) -> None:
    summary = "Succeeded" if kind.name == "TrainingJob" else "Ready"
    paths = [column.path for column in kind.columns if ".conditions" in column.path]
    assert paths
    assert all(f'[?(@.type=="{summary}")]' in path for path in paths)


@every_kind
def test_names_collide_with_nobody_and_all_kinds_are_one_category(kind: Kind) -> None:
    names = definition(kind)["spec"]["names"]
    assert all(name.startswith("w") for name in names["shortNames"])
    assert names["categories"] == ["windlass"]
    assert names["singular"] == kind.name.lower()


@every_kind
def test_status_is_a_subresource_and_has_no_defaults(kind: Kind) -> None:
    version = definition(kind)["spec"]["versions"][0]
    assert version["subresources"]["status"] == {}
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert [path for path, field in fields(status) if "default" in field] == []


def test_services_are_scaled_by_what_the_schema_has() -> None:
    kind = next(kind for kind in KINDS if kind.name == "InferenceService")
    version = definition(kind)["spec"]["versions"][0]
    known = {path for path, _ in fields(version["schema"]["openAPIV3Schema"])}
    assert set(version["subresources"]["scale"].values()) <= known


def test_every_file_is_part_of_an_install_and_stays_after_it(render: Callable[..., list[Manifest]]) -> None:
    rendered = {crd["metadata"]["name"]: crd for crd in of_kind(render(), "CustomResourceDefinition")}
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in CRDS.glob("*.yaml")}
    assert rendered == files
    assert len(files) == len(KINDS)
    for crd in rendered.values():
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_release_can_leave_the_crds_to_another(render: Callable[..., list[Manifest]]) -> None:
    assert of_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition") == []
