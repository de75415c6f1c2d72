"""The images as they are: what was left out of them is needed by nothing that they do, and infer is as small as it says."""

import base64
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from batch_rows import NUMBERS, csv_text
from infer_models import small_models
from kube import Namespace

from windlass_core.contracts import InferServe
from windlass_core.store import Store

PROBE = Path(__file__).with_name("image_probe.py")
TEAM = "team"
# The promise of the docs, unpacked and with Python and Debian: what a node has to store.
MAX_INFER_BYTES = 400_000_000
# What a module of ours imports that some of its doors alone need, and that the image without these doors does not have.
ABSENT = {
    "infer": {"duckdb", "torch", "yaml"},
    "preprocess": {"yaml"},
    "operator": {"obstore", "orjson", "starlette", "uvicorn", "yaml"},
}
ENGINES = ("onnxruntime", "openvino")
FORMS = ("csv", "parquet")


def shelf(folder: Path) -> dict[str, bytes]:
    """A store with two models and the same rows in each form, and what to do with them."""
    root = folder / "store"
    store = Store.open(TEAM, {"WINDLASS_STORE_URL": f"file://{root}"})
    models = small_models()
    published = {}
    for name in ("pictures", "numbers"):
        (folder / name).mkdir()
        published[name] = models[name].publish(store, name, folder / name)
    raw = root / TEAM / "raw"
    raw.mkdir(parents=True)
    (raw / "rows.csv").write_text(csv_text(NUMBERS))
    pq.write_table(pa.Table.from_pylist(NUMBERS), raw / "rows.parquet")
    reference = published["pictures"].reference
    specs = {
        "serve": {
            engine: InferServe(namespace=TEAM, name="pictures", model=reference, engine=engine).model_dump(
                mode="json", by_alias=True
            )
            for engine in ENGINES
        },
        "run": {
            f"{form}-{engine}": ["--model=numbers/1", f"--input=store://raw/rows.{form}", f"--engine={engine}", "--keep=c"]
            for form, engine in zip(FORMS, ENGINES, strict=True)
        },
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(root, ".")
    return {"store.tar.gz": packed.getvalue(), "specs.json": json.dumps(specs).encode(), PROBE.name: PROBE.read_bytes()}


def pod(name: str, image: str, arguments: list[str]) -> dict[str, Any]:
    """A pod that probes the image it is made of, as restricted as those of Windlass."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "command": ["python", f"/probe/{PROBE.name}", *arguments],
                    "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "probe", "mountPath": "/probe"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
                }
            ],
            "volumes": [{"name": "probe", "configMap": {"name": "probe"}}, {"name": "tmp", "emptyDir": {}}],
        },
    }


@pytest.fixture(scope="module")
def probed(module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the probe said in each image without torch."""
    files = shelf(tmp_path_factory.mktemp("shelf"))
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    module_namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "binaryData": encoded})
    images = yaml.safe_load(Path(os.environ["WINDLASS_IMAGES"]).read_text())["images"]
    for name in ABSENT:
        reference = f"{images[name]['repository']}:{images[name]['tag']}"
        module_namespace.apply(pod(name, reference, ["/probe"] if name == "infer" else []))

    def said(name: str) -> Any:
        ended = module_namespace.wait(
            "pod", name, lambda found: found["status"].get("phase") in ("Succeeded", "Failed"), seconds=180, what="its end"
        )
        log = module_namespace.kubectl("logs", name)
        assert ended["status"]["phase"] == "Succeeded", log
        return json.loads(log.splitlines()[-1])

    return {name: said(name) for name in ABSENT}


@pytest.mark.parametrize("name", ABSENT)
def test_every_compiled_library_of_the_image_finds_what_it_needs(probed: dict[str, Any], name: str) -> None:
    assert probed[name]["broken"] == []


@pytest.mark.parametrize("name", ABSENT)
def test_every_module_of_ours_can_be_imported_but_for_doors_that_the_image_has_not(probed: dict[str, Any], name: str) -> None:
    assert probed[name]["failed"] == []
    assert set(probed[name]["absent"]) <= ABSENT[name]


def test_infer_takes_no_more_than_is_promised(probed: dict[str, Any]) -> None:
    assert probed["infer"]["bytes"] <= MAX_INFER_BYTES


@pytest.mark.parametrize("form", ["image/png", "image/jpeg", "application/json", "grpc"])
@pytest.mark.parametrize("engine", ENGINES)
def test_infer_answers(probed: dict[str, Any], engine: str, form: str) -> None:
    answer = probed["infer"]["served"][engine][form]
    means = answer if form == "grpc" else answer[0]
    assert means == pytest.approx([2, 0, -2], abs=0.1)


@pytest.mark.parametrize("engine", ENGINES)
def test_infer_tells_its_health_over_grpc(probed: dict[str, Any], engine: str) -> None:
    assert probed["infer"]["served"][engine]["health"] == 1  # SERVING


@pytest.mark.parametrize(("form", "engine"), list(zip(FORMS, ENGINES, strict=True)))
def test_infer_predicts_for_rows_of(probed: dict[str, Any], form: str, engine: str) -> None:
    assert probed["infer"]["predicted"][f"{form}-{engine}"] == {"rows": len(NUMBERS), "columns": ["c", "prediction"]}
