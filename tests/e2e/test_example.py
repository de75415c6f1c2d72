"""The main example, as the README applies it: from raw data to predictions checked against true labels."""

import json
from pathlib import Path

import httpx
import pytest
import yaml
from kube import Namespace, Upload, condition_of, current
from objects import dataset, inference_service, training_job

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits.yaml"


def features(row: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in row.items() if name != "digit"}


@pytest.fixture(scope="module")
def pipeline(module_namespace: Namespace, upload: Upload, digits_csv: bytes) -> Namespace:
    """The example's file, applied before its data is there."""
    module_namespace.apply(*yaml.safe_load_all(EXAMPLE.read_text()))
    upload(module_namespace, "digits.csv", digits_csv)
    module_namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=240)
    return module_namespace


def test_the_dataset_says_its_version_rows_and_columns(pipeline: Namespace) -> None:
    status = pipeline.wait_condition("dataset", "digits", "Ready", seconds=10)["status"]
    assert (status["version"], status["rows"], status["columnCount"], status["task"]) == (1, 1797, 65, "classification")
    assert status["uri"] == "store://datasets/digits/1"
    assert status["digest"].startswith("sha256:")


def test_the_run_used_two_workers_and_names_its_version_and_metrics(pipeline: Namespace) -> None:
    job = pipeline.wait_condition("trainingjob", "digits", "Succeeded", seconds=10)
    assert job["status"]["workers"]["total"] == 2
    assert job["status"]["model"]["version"] == 1
    assert job["status"]["progress"]["step"] == job["status"]["progress"]["steps"]
    assert float(job["status"]["metrics"]["accuracy"]) >= 0.96


def test_the_model_lists_the_version_and_the_alias_that_the_run_moved(pipeline: Namespace) -> None:
    model = pipeline.wait_condition("model", "digits", "Ready", seconds=10)
    assert model["spec"]["aliases"] == [{"name": "production", "version": 1}]
    [version] = model["status"]["versions"]
    assert (version["version"], version["job"], version["dataset"], version["datasetVersion"]) == (1, "digits", "digits", 1)
    assert set(version["formats"]) == {"safetensors", "torch.export", "onnx", "onnx-int8"}
    assert float(version["metrics"]["accuracy"]) >= 0.96
    assert "ownerReferences" not in model["metadata"]


def test_kubectl_get_models_shows_the_accuracy(pipeline: Namespace) -> None:
    header, row = pipeline.kubectl("get", "models").splitlines()
    assert "METRICS" in header
    assert "accuracy=0.9" in row


def test_predictions_of_named_rows_are_the_true_labels_of_the_held_out_split(
    pipeline: Namespace, digit_rows: list[dict[str, int]]
) -> None:
    with pipeline.forward("service/digits") as url:
        answer = httpx.post(
            f"{url}/v1/models/digits:predict", json={"instances": [features(row) for row in digit_rows]}, timeout=30
        )
    body = answer.raise_for_status().json()
    right = [row["digit"] == prediction for row, prediction in zip(digit_rows, body["predictions"], strict=True)]
    assert sum(right) / len(right) >= 0.96
    assert len(body["probabilities"]) == len(digit_rows)


def test_rows_as_lists_and_the_open_inference_protocol_give_the_same_answer(
    pipeline: Namespace, digit_rows: list[dict[str, int]]
) -> None:
    rows = digit_rows[:4]
    lists = [list(features(row).values()) for row in rows]
    tensor = {"name": "features", "shape": [4, 64], "datatype": "FP32", "data": [value for row in lists for value in row]}
    with pipeline.forward("service/digits") as url:
        named = httpx.post(f"{url}/v1/models/digits:predict", json={"instances": [features(row) for row in rows]})
        listed = httpx.post(f"{url}/v1/models/digits:predict", json={"instances": lists})
        protocol = httpx.post(f"{url}/v2/models/digits/infer", json={"inputs": [tensor]})
    labels = next(output for output in protocol.raise_for_status().json()["outputs"] if output["name"] == "label")
    assert named.json()["predictions"] == listed.json()["predictions"] == labels["data"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param('{"instances": [{"pixel_0_0": 1}]}', "pixel_0_1", id="a missing column is named"),
        pytest.param('{"instances": [[1, 2, 3]]}', "64", id="a row of the wrong length is told the right one"),
        pytest.param('{"instances": [' + json.dumps(["x"] * 64) + "]}", "pixel_0_0", id="text where a number is needed"),
        pytest.param('{"instances": "x"}', "instances", id="instances that are no list"),
        pytest.param("{", "JSON", id="a body that is no JSON"),
    ],
)
def test_a_wrong_request_gets_a_4xx_that_says_what_is_wrong(pipeline: Namespace, body: str, said: str) -> None:
    with pipeline.forward("service/digits") as url:
        answer = httpx.post(f"{url}/v1/models/digits:predict", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert said in answer.text
    assert "Traceback" not in answer.text


def test_no_pod_holds_a_kubernetes_token_and_no_object_holds_a_credential(pipeline: Namespace) -> None:
    pods = pipeline.list("pods")
    assert pods
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in pods)
    everything = pipeline.kubectl("get", "datasets,trainingjobs,models,inferenceservices,pods,jobs,deployments", "-o", "json")
    assert "AWS_SECRET_ACCESS_KEY" not in everything


def test_objects_applied_in_reverse_order_say_what_they_wait_for_and_go_on_by_themselves(
    namespace: Namespace, upload: Upload, digits_csv: bytes
) -> None:
    namespace.apply(inference_service())
    waiting = namespace.wait_reason("inferenceservice", "digits", "Ready", "WaitingForModel", seconds=20)
    assert "digits" in condition_of(waiting, "Ready")["message"]
    namespace.apply(training_job(stop={"epochs": 5}))
    waiting = namespace.wait_reason("trainingjob", "digits", "Succeeded", "WaitingForDataset", seconds=20)
    assert "digits" in condition_of(waiting, "Succeeded")["message"]
    namespace.apply(dataset())
    waiting = namespace.wait_reason("dataset", "digits", "Ready", "WaitingForSource", seconds=60)
    assert "store://raw/digits.csv" in condition_of(waiting, "Ready")["message"]
    upload(namespace, "digits.csv", digits_csv)
    service = namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)
    assert current(service, "Ready") == "True"
