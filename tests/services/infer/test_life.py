"""The life of the server's process: a rollout, the last request, a store that is away, a version that must not be served."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

GOOD = {"instances": [[1, 2, 9]]}
TENSOR = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 9]}


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
        wait(lambda: httpx.get(f"{old.url}/readyz", timeout=5).status_code == 503, "readiness is off", seconds=2)
        assert "stopping" in httpx.get(f"{old.url}/readyz", timeout=5).json()["detail"]
        drained = outcomes["200 from version 1"]
        wait(lambda: outcomes["200 from version 1"] > drained + 20, "it answers on until all have heard", seconds=2)
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
        # What the operator writes on the object.
        wait(lambda: client.get("/progress").json()["phase"] == "WaitingForStore", "it says what it waits for")
        assert client.get("/progress").json()["message"].startswith("waiting for version 1 of model 'penguins': ")
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


def test_a_version_that_cannot_be_loaded_ends_a_pod_of_two_processes_without_another_try(
    serve: Callable[..., Any], shelf: Any, examples: dict[str, Any]
) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"], program=b"no program")).model_copy(update={"processes": 2})
    with serve(spec, shelf.environment, until_ready=False) as server:
        assert server.process.wait(60) == 41
        assert server.result().reason == "ModelLoadFailed"
        log = server.log.read_text()
    assert [log.count(f"process {number} started") for number in (0, 1)] == [1, 1]
    assert "ended with code" not in log


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
