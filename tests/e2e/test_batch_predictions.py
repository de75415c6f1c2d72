"""The example of batch predictions, applied as a user does: a plain Job beside the objects of Windlass."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from kube import SYSTEM_NAMESPACE, Namespace, Upload
from objects import dataset, inference_service, training_job

EXAMPLE = yaml.safe_load((Path(__file__).resolve().parents[2] / "examples" / "batch-predict.yaml").read_text())
FOLDER = "predictions/digits"


def job(image: str, name: str, **arguments: str) -> dict[str, Any]:
    """The example with the image that is installed, and other arguments."""
    made: dict[str, Any] = deepcopy(EXAMPLE)
    made["metadata"]["name"] = name
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["image"] = image
    if arguments:
        container["args"] = ["run", *(f"--{option}={value}" for option, value in arguments.items())]
    return made


def ended(namespace: Namespace, name: str, condition: str) -> tuple[int, dict[str, Any]]:
    """Exit code and message of the Job's only pod, when the Job has the condition."""

    def has(found: Any) -> bool:
        return any(one["type"] == condition for one in found.get("status", {}).get("conditions", []))

    namespace.wait("job", name, has, seconds=120, what=condition)
    [pod] = namespace.list("pods", f"job-name={name}")
    [status] = pod["status"]["containerStatuses"]
    end = status["state"]["terminated"]
    return end["exitCode"], json.loads(end["message"])


@pytest.fixture(scope="module")
def trained(module_namespace: Namespace, upload: Upload, digits_csv: bytes) -> tuple[Namespace, str]:
    """A namespace with version 1 of the Model `digits`, and the image that serves it."""
    namespace = module_namespace
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(stop={"epochs": 5}), inference_service())
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=240)
    [server, *_] = namespace.list("pods", "windlass.dev/inferenceservice=digits")
    return namespace, server["spec"]["containers"][0]["image"]


@pytest.fixture(scope="module")
def predicted(trained: tuple[Namespace, str]) -> tuple[Namespace, dict[str, Any]]:
    """The example's Job, done, and what its pod said."""
    namespace, image = trained
    namespace.apply(job(image, "digits-predictions"))
    code, said = ended(namespace, "digits-predictions", "Complete")
    assert code == 0
    return namespace, said


def test_every_row_of_the_test_split_has_its_prediction(predicted: tuple[Namespace, dict[str, Any]]) -> None:
    namespace, said = predicted
    with Namespace(SYSTEM_NAMESPACE).forward("service/windlass-preprocess") as url:
        raw = f"{url}/v1/namespaces/{namespace.name}/raw/{FOLDER}"
        manifest = httpx.get(f"{raw}/_manifest.json", timeout=30).raise_for_status().json()
        parts = [httpx.get(f"{raw}/{part['path']}", timeout=30).raise_for_status().content for part in manifest["parts"]]
        split = (
            httpx.get(f"{url}/v1/namespaces/{namespace.name}/datasets/digits/versions/1", timeout=30).raise_for_status().json()
        )
    rows = split["dataset"]["splits"]["test"]["rows"]
    table = pa.concat_tables([pq.read_table(pa.BufferReader(part)) for part in parts])
    assert table.num_rows == manifest["rows"] == said["predictions"]["rows"] == rows
    assert table.column_names == ["digit", "label", "probabilities"]
    right = sum(given == found for given, found in zip(table["digit"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert right / rows >= 0.8


def test_the_pod_names_the_version_that_predicted(predicted: tuple[Namespace, dict[str, Any]]) -> None:
    namespace, said = predicted
    version = (namespace.get("inferenceservice", "digits") or {})["status"]["model"]
    assert (said["outcome"], said["reason"]) == ("Succeeded", "Predicted")
    assert said["predictions"]["uri"] == f"store://raw/{FOLDER}"
    assert said["predictions"]["model"]["digest"] == version["digest"]


def test_a_job_of_the_same_run_finds_it_done(
    predicted: tuple[Namespace, dict[str, Any]], trained: tuple[Namespace, str]
) -> None:
    namespace, said = predicted
    namespace.apply(job(trained[1], "again"))
    code, again = ended(namespace, "again", "Complete")
    assert (code, again["message"]) == (0, "the same predictions were made before")
    assert again["predictions"] == said["predictions"]


def test_a_wrong_row_ends_the_job_at_once_and_is_named(
    trained: tuple[Namespace, str], upload: Upload, digits_csv: bytes
) -> None:
    namespace, image = trained
    header, first, *_ = digits_csv.decode().splitlines()
    upload(namespace, "bad.csv", "\n".join([header, first, first.replace(first.split(",")[0], "many", 1)]).encode() + b"\n")
    namespace.apply(job(image, "wrong", model="digits/1", input="store://raw/bad.csv", output="store://raw/predictions/bad"))
    code, said = ended(namespace, "wrong", "Failed")
    assert code == 41
    assert "row 2 of store://raw/bad.csv: column 'pixel" in said["message"]
