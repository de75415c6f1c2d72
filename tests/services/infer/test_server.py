"""The service as its users meet it: what a process with a port answers, and what it refuses."""

import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import numpy as np
import orjson
import pytest

PREDICT, INFER = "predict", "infer"
EXTENSIONS = ["binary_tensor_data", "classification", "schedule_policy", "statistics"]
GOOD = {"instances": [[1, 2, 9]]}
TENSOR = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 9]}


@pytest.fixture
def client(server: Any) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def test_a_prediction_names_the_version_in_body_and_headers(server: Any, client: httpx.Client) -> None:
    response = client.post(server.predict_path, json=GOOD, headers={"X-Request-Id": "mine"})
    assert response.status_code == 200
    digest = server.spec.model.digest
    assert response.json()["predictions"] == [8]
    assert response.json()["model"] == {"name": "service", "version": 1, "digest": digest}
    assert (response.headers["x-model-version"], response.headers["x-model-digest"]) == ("1", digest)
    assert response.headers["x-request-id"] == "mine"


def test_every_example_of_the_openapi_document_is_answered(each_server: tuple[Any, Any]) -> None:
    _, server = each_server
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        posts = {path: item["post"] for path, item in paths.items() if "post" in item}
        assert list(posts) == [server.predict_path, server.infer_path, "/v2/models/service/versions/1/infer"]
        for path, operation in posts.items():
            response = client.post(path, json=operation["requestBody"]["content"]["application/json"]["example"])
            assert response.status_code == 200, response.text
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(response.json(), schema)
            assert set(schema["required"]) <= set(response.json())


def test_every_piece_of_shell_code_of_the_openapi_document_is_answered(each_server: tuple[Any, Any]) -> None:
    _, server = each_server
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    samples = [sample for item in paths.values() for sample in item.get("post", {}).get("x-codeSamples", [])]
    assert len(samples) >= 2 + 2 * 3
    for sample in samples:
        done = subprocess.run(["sh", "-c", sample["source"]], env=os.environ | {"URL": server.url}, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b""), (sample["label"], done.stdout)


def test_every_path_of_the_openapi_document_answers(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    gets = [path for path, item in document["paths"].items() if "get" in item]
    assert len(gets) == 15
    assert {path: client.get(path).status_code for path in gets} == dict.fromkeys(gets, 200)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v2", {"name": "windlass-infer", "version": "0.1.0", "extensions": EXTENSIONS}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/service/ready", {"name": "service", "ready": True}),
        ("/v2/models/service/versions/1/ready", {"name": "service", "ready": True}),
        (
            "/v2/models/service",
            {
                "name": "service",
                "versions": ["1"],
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}],
                "outputs": [
                    {"name": "label", "datatype": "INT64", "shape": [-1]},
                    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
                ],
            },
        ),
    ],
    ids=["server metadata", "live", "ready", "model ready", "version ready", "model metadata"],
)
def test_the_protocol_describes(client: httpx.Client, path: str, answer: dict[str, Any]) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, answer)


def test_the_model_is_described_with_its_columns_and_classes(server: Any, client: httpx.Client) -> None:
    described = client.get("/v1/models/service").json()
    engines = described.pop("engines")
    assert engines["onnxruntime"] == "the only one that can run it here"
    assert engines["openvino"] == "the spec asks for onnxruntime"
    assert described == {
        "name": "service",
        "ready": True,
        "model": "penguins",
        "version": 1,
        "digest": server.spec.model.digest,
        "engine": "onnxruntime",
        "task": "classification",
        "label": "digit",
        "classes": [3, 5, 8],
        "columns": [{"name": "a", "type": "float64"}, {"name": "b", "type": "float64"}, {"name": "c", "type": "int64"}],
    }


WRONG: dict[str, tuple[str, Any, int, str]] = {
    "no JSON": (PREDICT, b"{", 400, "BadRequest"),
    "no instances": (PREDICT, {}, 400, "BadRequest"),
    "a row that is too short": (PREDICT, {"instances": [[1]]}, 422, "BadData"),
    "text where a number belongs": (PREDICT, {"instances": [["x", 2, 3]]}, 422, "BadData"),
    "the label among the columns": (PREDICT, {"instances": [{"a": 1, "b": 2, "c": 3, "digit": 3}]}, 422, "BadData"),
    "a number too large": (PREDICT, {"instances": [[1e300, 2, 3]]}, 422, "BadData"),
    "no inputs": (INFER, {}, 400, "inputs is missing"),
    "a wrong datatype": (INFER, {"inputs": [TENSOR | {"datatype": "BYTES", "data": ["1", "2", "3"]}]}, 400, "takes numbers"),
    "a wrong shape": (INFER, {"inputs": [TENSOR | {"shape": [3]}]}, 400, "it must be [rows, 3]"),
    "a lying shape": (INFER, {"inputs": [TENSOR | {"shape": [2, 3]}]}, 400, "takes 6 values, but data has 3"),
    "a value that is no integer": (INFER, {"inputs": [TENSOR | {"data": [1, 2, 3.5]}]}, 422, "column 'c'"),
    "an unknown output": (INFER, {"inputs": [TENSOR], "outputs": [{"name": "x"}]}, 400, "output 'x'"),
}


@pytest.mark.parametrize(("call", "body", "status", "reason"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_refused(server: Any, client: httpx.Client, call: str, body: Any, status: int, reason: str) -> None:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = client.post(server.predict_path if call == PREDICT else server.infer_path, content=content)
    assert response.status_code == status
    if call == PREDICT:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["reason"] == reason
    else:
        assert list(response.json()) == ["error"]
        assert reason in response.json()["error"]


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("length", ["content-length: 67108864", "transfer-encoding: chunked"])
@pytest.mark.parametrize("path", ["/v1/models/service:predict", "/v2/models/service/infer"])
def test_a_client_that_sends_a_body_far_too_large_before_it_reads_still_gets_its_answer(
    server: Any, connection: str, length: str, path: str
) -> None:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n{length}\r\n\r\n".encode())
        piece = b" " * 65536
        for _ in range(1024):
            client.sendall(b"10000\r\n" + piece + b"\r\n" if "chunked" in length else piece)
        if "chunked" in length:
            client.sendall(b"0\r\n\r\n")
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413"), answer


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({"Inference-Header-Content-Length": "999"}, b"{}", "but the body has 2 bytes"),
        ({"Inference-Header-Content-Length": "-1"}, b"{}", "must be a whole number"),
        ({"Inference-Header-Content-Length": "0"}, b"12345", "the body has 5 bytes"),
    ],
    ids=["beyond the body", "negative", "of no whole row"],
)
def test_a_lying_length_is_refused(
    server: Any, client: httpx.Client, headers: dict[str, str], body: bytes, reason: str
) -> None:
    response = client.post(server.infer_path, content=body, headers=headers)
    assert response.status_code == 400
    assert reason in response.json()["error"]


def test_binary_tensors_go_both_ways(server: Any, client: httpx.Client) -> None:
    header = orjson.dumps(
        {
            "inputs": [
                {"name": "features", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
            ],
            "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
        }
    )
    body = header + np.array([[1, 2, 9], [9, 0, 0]], dtype="<f4").tobytes()
    response = client.post(server.infer_path, content=body, headers={"Inference-Header-Content-Length": str(len(header))})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    assert np.frombuffer(response.content[length:], "<i8").tolist() == [8, 3]


def test_many_at_once_get_their_own_answers(server: Any) -> None:
    def ask(caller: int) -> list[int]:
        rows = [[[9, 0, 0], [0, 9, 0], [0, 0, 99]][(caller + index) % 3] for index in range(caller % 5 + 1)]
        predictions = clients[caller % 16].post(server.predict_path, json={"instances": rows}).json()["predictions"]
        return [*predictions, *([[3, 5, 8][(caller + index) % 3] for index in range(caller % 5 + 1)])]

    clients = [server.client() for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        for answer in pool.map(ask, range(400)):
            assert answer[: len(answer) // 2] == answer[len(answer) // 2 :]
    for client in clients:
        client.close()


def test_what_happens_is_measured(server: Any, client: httpx.Client) -> None:
    client.post(server.predict_path, json=GOOD)
    client.post(server.predict_path, json={})
    metrics = client.get("/metrics").text
    for sample in (
        'windlass_http_request_duration_seconds_count{method="POST",route="/v1/models/service:predict",status="200"}',
        'windlass_http_request_duration_seconds_count{method="POST",route="/v1/models/service:predict",status="400"}',
        f'windlass_infer_model_info{{digest="{server.spec.model.digest}",engine="onnxruntime",model="penguins",name="service",'
        'platform="onnxruntime_onnx",version="1"} 1.0',
        'windlass_infer_queue_seconds_bucket{le="0.0001",name="service",version="1"}',
        'windlass_infer_compute_seconds_bucket{le="0.0001",name="service",version="1"}',
        'windlass_infer_request_seconds_bucket{le="0.0001",name="service",version="1"}',
        'windlass_infer_batch_rows_bucket{le="1.0",name="service",version="1"}',
        'windlass_infer_rows_in_flight{name="service",version="1"} 0.0',
        'windlass_infer_shed_total{name="service",reason="deadline",version="1"} 0.0',
        'windlass_infer_seconds_per_row{name="service",version="1"}',
        "windlass_infer_drain_seconds 0.0",
        "windlass_http_requests_in_flight",
    ):
        assert sample in metrics
