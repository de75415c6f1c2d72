"""What a user chooses of serving takes effect: the engine is told, gRPC answers, deadlines refuse, the cache answers again."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from kube import Namespace, Upload
from objects import dataset, inference_service, training_job

ROW = [0.0] * 64
CHOSEN: dict[str, Any] = {
    "engine": "auto",
    "slo": {"p99": "5s"},
    "batch": {"max": 16},
    "cache": "8Mi",
    "env": [{"name": "OTEL_SERVICE_NAME", "value": "digits"}],
    "resources": {"cpu": "250m", "memory": "512Mi"},
    "replicas": {"min": 1, "max": 1},
}


@pytest.fixture(scope="module")
def serving(module_namespace: Namespace, upload: Upload, digits_csv: bytes) -> Namespace:
    """A service for which everything is chosen."""
    namespace = module_namespace
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(stop={"epochs": 3}), inference_service(**CHOSEN))
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)
    return namespace


@pytest.fixture(scope="module")
def client(serving: Namespace) -> Iterator[httpx.Client]:
    """Asks the service over HTTP."""
    with serving.forward("service/digits") as url, httpx.Client(base_url=url, timeout=30) as made:
        yield made


def test_the_status_names_engine_version_and_digest(serving: Namespace, client: httpx.Client) -> None:
    service = serving.wait("inferenceservice", "digits", lambda item: "engine" in item["status"], seconds=30, what="the engine")
    told = client.get("/v1/models/digits").json()
    status = service["status"]
    assert status["engine"] == told["engine"]
    assert (status["model"]["version"], status["model"]["digest"]) == (told["version"], told["digest"])
    assert told["engines"].keys() >= {"onnxruntime", "openvino"}, "each candidate is there with what became of it"


def test_the_protocol_answers_over_grpc_at_port_9000(serving: Namespace, client: httpx.Client) -> None:
    values = tritonclient.grpc.InferInput("features", [1, 64], "FP32")
    values.set_data_from_numpy(np.zeros((1, 64), np.float32))
    with (
        serving.forward("service/digits", 9000) as url,
        tritonclient.grpc.InferenceServerClient(url.removeprefix("http://")) as grpc,
    ):
        assert grpc.is_model_ready("digits")
        by_grpc = grpc.infer("digits", [values], client_timeout=30).as_numpy("probabilities")
    by_http = client.post("/v1/models/digits:predict", json={"instances": [ROW]}).json()["probabilities"]
    np.testing.assert_allclose(by_grpc, by_http, rtol=1e-5)


def test_what_cannot_be_in_time_is_refused_with_when_to_come_again(client: httpx.Client) -> None:
    # Not asked before: what the cache holds is in time.
    question = {"instances": [[2.0] * 64]}
    answer = client.post("/v1/models/digits:predict", json=question, headers={"Request-Timeout": "0.0000001"})
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["X-Model-Version"] == "1"


def test_an_equal_question_is_answered_from_the_cache(client: httpx.Client) -> None:
    question = {"instances": [[1.0] * 64]}
    first, again = (client.post("/v1/models/digits:predict", json=question).json() for _ in range(2))
    assert first == again
    lines = client.get("/metrics").text.splitlines()
    hits = [line for line in lines if line.startswith("windlass_infer_cache") and 'hit"' in line]
    assert any(float(line.split()[-1]) >= 1 for line in hits), lines


def test_the_pod_has_the_users_variables(serving: Namespace) -> None:
    [pod] = serving.list("pods", "windlass.dev/inferenceservice=digits")
    variables = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert variables["OTEL_SERVICE_NAME"] == "digits"
    assert json.loads(variables["WINDLASS_RUN_SPEC"])["maxBatchRows"] == 16
