"""Values: each one has a sentence, each one is in the schema, and what is wrong is refused by name."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "windlass"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

TryRender = Callable[..., subprocess.CompletedProcess[str]]


def test_helm_finds_nothing_to_complain_about(helm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = helm("lint", "--strict", "--kube-version", "1.31.0", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a word that is misspelt": ({"store": {"embeded": {"size": "1Gi"}}}, "'embeded' not allowed"),
    "a word that is misspelt at the top": ({"oprator": {}}, "'oprator' not allowed"),
    "a word that is misspelt deep below": ({"operator": {"resources": {"requests": {"cpus": "1"}}}}, "'cpus' not allowed"),
    "a store that does not exist": ({"store": {"mode": "nfs"}}, "/store/mode"),
    "a size without sense": ({"store": {"embedded": {"size": "ten"}}}, "/store/embedded/size"),
    "an image that floats": ({"images": {"train": {"tag": "latest"}}}, "/images/train/tag"),
    "a digest that is cut short": ({"images": {"train": {"digest": "sha256:12ab"}}}, "/images/train/digest"),
    "a namespace that cannot be": ({"namespaces": ["Team A"]}, "/namespaces/0"),
    "a namespace twice": ({"namespaces": ["a", "a"]}, "/namespaces"),
    "one namespace that is no list": ({"namespaces": "a"}, "/namespaces"),
    "a level of logs that does not exist": ({"logLevel": "debug"}, "/logLevel"),
    "an endpoint without its scheme": ({"store": {"s3": {"endpoint": "minio:9000"}}}, "/store/s3/endpoint"),
    "a folder in a bucket that no URL can hold": ({"store": {"s3": {"prefix": "team?a"}}}, "/store/s3/prefix"),
    "a bucket without credentials": (
        {"store": {"mode": "s3", "s3": {"bucket": "data"}}},
        "store.s3.existingSecret names the Secret",
    ),
    "a store of S3 without a bucket": (
        {"store": {"mode": "s3", "s3": {"existingSecret": "keys"}}},
        "store.s3.bucket names the bucket; store.mode s3 needs it",
    ),
    "a volume for other namespaces": (
        {"store": {"mode": "volume"}, "namespaces": ["team-a"]},
        "store.mode volume serves objects of the release's own namespace windlass-system only",
    ),
}


@pytest.mark.parametrize(("values", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_is_refused_by_name(values: dict[str, Any], said: str, try_render: TryRender) -> None:
    done = try_render(values)
    assert done.returncode != 0
    assert said in done.stderr


ACCEPTED: dict[str, dict[str, Any]] = {
    "whole numbers as quantities": {"operator": {"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}}},
    "values that a parent chart hands down": {"global": {"anything": True}},
    "the release's own namespace for a volume": {"store": {"mode": "volume"}, "namespaces": ["windlass-system"]},
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_right_is_taken(values: dict[str, Any], try_render: TryRender) -> None:
    done = try_render(values)
    assert done.returncode == 0, done.stderr


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or the definition that it refers to."""
    found: dict[str, Any] = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema that has named properties, with its path."""
    schema = resolved(schema)
    if "properties" in schema:
        yield path or "/", schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{path}/{name}")
    if "items" in schema:
        yield from objects(schema["items"], f"{path}[]")


def test_the_schema_is_closed_everywhere() -> None:
    assert [path for path, schema in objects(SCHEMA) if schema.get("additionalProperties") is not False] == []


# Maps whose content is Kubernetes' own, not ours to list in full in values.yaml.
OPEN_ENDED = ("resources", "tolerations", "labels", "nodeSelector")


def paths(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Path of every value, down to lists, scalars and what is open-ended."""
    for name, value in values.items():
        inner = f"{path}/{name}"
        if isinstance(value, dict) and value and name not in OPEN_ENDED:
            yield from paths(value, inner)
        else:
            yield inner


def schema_paths(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, field in schema["properties"].items():
        inner, field = f"{path}/{name}", resolved(field)
        if "properties" in field and name not in OPEN_ENDED:
            yield from schema_paths(field, inner)
        else:
            yield inner


def test_values_and_schema_know_the_same() -> None:
    assert set(schema_paths(SCHEMA)) - {"/global"} == set(paths(VALUES))


def test_every_value_has_a_sentence_above_it() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    leaves = {path.rpartition("/")[2] for path in paths(VALUES)}
    checked = set()
    for number, line in enumerate(lines):
        name = re.match(r" *([A-Za-z0-9]+):", line)
        if name and name[1] in leaves:
            block = []
            for above in reversed(lines[:number]):
                if not above.strip().startswith("#"):
                    break
                block.append(above.strip().removeprefix("#").strip())
            sentence = " ".join(reversed(block))
            assert re.fullmatch(r"[A-Z].*\.", sentence), f"line {number + 1}: {line.strip()} has no sentence above it"
            checked.add(name[1])
    assert checked == leaves


def test_the_readme_names_only_values_that_there_are() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z][A-Za-z0-9]*\.)+(?:[A-Za-z0-9]+|\*[A-Za-z.]*))(?::[^`]*)?`", text)
    known = {path.strip("/").replace("/", ".") for path in paths(VALUES)}
    assert "store.s3.bucket" in named
    for name in named:
        pattern = re.escape(name).replace(r"\*", "[a-z]+")
        assert any(re.fullmatch(pattern, value) for value in known), name
