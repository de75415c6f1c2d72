"""The service as its users meet it: a process with a port, from its start to SIGTERM."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import orjson
import pytest

PREDICT, INFER = "predict", "infer"
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


def test_every_path_of_the_openapi_document_answers(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    gets = [path for path, item in document["paths"].items() if "get" in item]
    assert len(gets) == 11
    assert {path: client.get(path).status_code for path in gets} == dict.fromkeys(gets, 200)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v2", {"name": "windlass-infer", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
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
    assert client.get("/v1/models/service").json() == {
        "name": "service",
        "ready": True,
        "model": "penguins",
        "version": 1,
        "digest": server.spec.model.digest,
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
        f'windlass_infer_model_info{{digest="{server.spec.model.digest}",model="penguins",name="service",'
        'platform="onnxruntime_onnx",version="1"} 1.0',
        "windlass_infer_queue_seconds_bucket",
        "windlass_infer_compute_seconds_bucket",
        "windlass_infer_batch_rows_bucket",
        "windlass_infer_rows_in_flight 0.0",
        "windlass_infer_shed_total 0.0",
        "windlass_http_requests_in_flight",
    ):
        assert sample in metrics


class Traffic:
    """Clients that ask without pause on connections that they keep; new connections go to where `endpoint` points."""

    def __init__(self, endpoint: Any, clients: int) -> None:
        self.endpoint = endpoint
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _ask(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                try:
                    response = client.post(self.endpoint.url + self.endpoint.predict_path, json=GOOD)
                    outcome = f"{response.status_code} from version {response.json()['model']['version']}"
                except httpx.TransportError as error:
                    outcome = repr(error)
                with self._lock:
                    self.outcomes[outcome] += 1


def test_a_rollout_under_load_fails_no_request_and_the_old_server_ends_with_0(
    serve: Callable[..., Any], shelf: Any, examples: dict[str, Any], wait: Callable[..., None]
) -> None:
    old_version, new_version = (shelf.publish(examples["numbers"], owner=f"uid-{number}") for number in (1, 2))
    with (
        serve(shelf.spec(old_version), shelf.environment) as old,
        serve(shelf.spec(new_version), shelf.environment) as new,
        Traffic(old, clients=8) as traffic,
    ):
        outcomes = traffic.outcomes
        wait(lambda: outcomes["200 from version 1"] > 100, "the old server answers")
        old.terminate()
        wait(lambda: httpx.get(f"{old.url}/readyz", timeout=5).status_code == 503, "readiness is off", 2)
        assert "stopping" in httpx.get(f"{old.url}/readyz", timeout=5).json()["detail"]
        drained = outcomes["200 from version 1"]
        wait(lambda: outcomes["200 from version 1"] > drained + 20, "it answers on until all have heard", 2)
        traffic.endpoint = new
        assert old.process.wait(20) == 0
        wait(lambda: outcomes["200 from version 2"] > 100, "the new server answers")
    assert sorted(outcomes) == ["200 from version 1", "200 from version 2"], outcomes
    assert not old.termination_log.exists()


def test_a_request_in_flight_at_the_end_is_answered(
    serve: Callable[..., Any], shelf: Any, examples: dict[str, Any], wait: Callable[..., None]
) -> None:
    body = orjson.dumps({"instances": [[1, 2, 9]] * 1000})
    with serve(shelf.spec(shelf.publish(examples["numbers"])), shelf.environment) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = f"POST {server.predict_path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[:-10])
            server.terminate()
            wait(lambda: refused(host, int(port)), "new connections are refused")
            assert server.process.poll() is None
            connection.sendall(body[-10:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.count(b",8") >= 900
        assert server.process.wait(20) == 0


def refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_store_that_is_away_leaves_the_server_alive_and_not_ready(
    serve: Callable[..., Any], shelf: Any, examples: dict[str, Any], wait: Callable[..., None]
) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        away = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environment = {
        "WINDLASS_STORE_URL": "s3://windlass",
        "AWS_ENDPOINT_URL": away,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    with serve(spec, environment, until_ready=False) as server, server.client() as client:
        wait(lambda: not refused(*address(server)), "the server listens")
        assert client.get("/healthz").status_code == 200
        not_ready = client.get("/readyz")
        assert (not_ready.status_code, "from the store" in not_ready.json()["detail"]) == (503, True)
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v1/models/service").json()["ready"] is False
        assert client.get("/v2/models/service").status_code == 503
        answers = [client.post(server.predict_path, json=GOOD), client.post(server.infer_path, json={"inputs": [TENSOR]})]
        assert [(answer.status_code, answer.headers["retry-after"]) for answer in answers] == [(503, "1")] * 2
        assert "windlass_infer_" not in client.get("/metrics").text
        assert list(client.get("/openapi.json").json()["paths"])
        started = time.monotonic()
        server.terminate()
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 10


def address(server: Any) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@pytest.mark.parametrize(
    ("replaced", "tampered", "code", "reason"),
    [
        ({}, "model.onnx", 41, "DigestMismatch"),
        ({}, "manifest.json", 41, "DigestMismatch"),
        ({"program": b"no program"}, None, 41, "ModelLoadFailed"),
        ({"formats": {}}, None, 41, "ModelLoadFailed"),
    ],
    ids=["a damaged program", "a damaged manifest", "a program that is none", "no format that an engine runs"],
)
def test_a_version_that_must_not_be_served_ends_the_process_and_says_why(
    serve: Callable[..., Any],
    shelf: Any,
    examples: dict[str, Any],
    tamper: Callable[[Path], None],
    replaced: dict[str, Any],
    tampered: str | None,
    code: int,
    reason: str,
) -> None:
    published = shelf.publish(examples["numbers"], **replaced)
    if tampered:
        file = published.manifest.file(tampered)
        tamper(shelf.root / "team" / "models" / "penguins" / "1" / (file.location if file else tampered))
    with serve(shelf.spec(published), shelf.environment, until_ready=False) as server:
        assert server.process.wait(30) == code
        result = server.result()
    assert (result.outcome, result.reason) == ("Failed", reason)
    assert result.message


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"WINDLASS_RUN_SPEC": ""}, "the variable WINDLASS_RUN_SPEC is not set"),
        ({"WINDLASS_RUN_SPEC": "{}"}, "WINDLASS_RUN_SPEC is not a run"),
        ({"WINDLASS_STORE_URL": "ftp://x"}, "WINDLASS_STORE_URL is 'ftp://x'"),
    ],
    ids=["no spec", "a spec that is none", "no store"],
)
def test_a_wrong_environment_ends_the_process_with_40(
    serve: Callable[..., Any], shelf: Any, examples: dict[str, Any], environment: dict[str, str], sentence: str
) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"]))
    with serve(spec, shelf.environment, until_ready=False, **environment) as server:
        assert server.process.wait(30) == 40
        assert server.result().reason == "BadConfiguration"
        assert sentence in server.result().message
