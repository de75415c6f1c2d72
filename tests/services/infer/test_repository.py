"""Other versions and models while the server serves: loaded beside, swapped between two batches; off without a token."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

TOKEN = "a-token-for-tests-only"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
GOOD = {"instances": [[1, 2, 9]]}
TENSOR = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 9]}
LOAD = "/v2/repository/models/service/load"
UNLOAD = "/v2/repository/models/service/unload"


def parameters(**values: Any) -> dict[str, Any]:
    return {"parameters": values}


@pytest.fixture
def running(shelf: Any, examples: dict[str, Any], serve: Callable[..., Any]) -> Iterator[Any]:
    """A server of version 1, with versions 1 to 3 in the store; 3 holds no program."""
    first = shelf.publish(examples["numbers"])
    shelf.publish(examples["numbers"], owner="uid-2")
    shelf.publish(examples["numbers"], owner="uid-3", program=b"no program")
    with serve(shelf.spec(first), shelf.environment, WINDLASS_REPOSITORY_TOKEN=TOKEN) as server:
        yield server


def version_that_answers(client: httpx.Client, server: Any, version: int | None = None) -> tuple[str, str]:
    path = server.infer_path if version is None else f"/v2/models/service/versions/{version}/infer"
    response = client.post(path, json={"inputs": [TENSOR]})
    assert response.status_code == 200, response.text
    return response.headers["x-model-version"], response.json()["model_version"]


def index(client: httpx.Client, **asked: Any) -> dict[tuple[str, str], tuple[str, str]]:
    response = client.post("/v2/repository/index", json=asked, headers=AUTHORIZED)
    assert response.status_code == 200, response.text
    return {(entry["name"], entry["version"]): (entry["state"], entry["reason"]) for entry in response.json()}


def test_versions_come_and_go_while_requests_are_answered(running: Any, wait: Callable[..., None]) -> None:
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with running.client() as client:
            while not stop.is_set():
                response = client.post(running.predict_path, json=GOOD)
                named = response.json()["model"]["version"] if response.status_code == 200 else response.text
                agrees = response.headers["x-model-version"] == str(named)
                outcomes[f"{response.status_code} {named} {agrees}"] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    with running.client(headers=AUTHORIZED) as client:
        wait(lambda: outcomes["200 1 True"] > 20, "version 1 answers")
        assert client.post(LOAD, json=parameters(version=2)).status_code == 200
        assert version_that_answers(client, running) == ("2", "2"), "the next request after the load"
        assert version_that_answers(client, running, version=1) == ("1", "1"), "the old one stays at hand"
        wait(lambda: outcomes["200 2 True"] > 20, "version 2 answers")
        for back in (1, 2) * 5:
            assert client.post(LOAD, json=parameters(version=back)).status_code == 200
            assert version_that_answers(client, running) == (str(back), str(back))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["200 1 True", "200 2 True"], outcomes


def test_a_version_that_does_not_load_leaves_the_old_one_and_says_why(running: Any) -> None:
    with running.client(headers=AUTHORIZED) as client:
        response = client.post(LOAD, json=parameters(version=3))
        assert response.status_code == 422
        assert "version 3 of model 'penguins' cannot be served" in response.json()["error"]
        assert version_that_answers(client, running) == ("1", "1")
        state, reason = index(client)["service", "3"]
        assert (state, "cannot be served" in reason) == ("UNAVAILABLE", True)
        assert index(client, ready=True) == {("service", "1"): ("READY", "")}
        assert "cannot be served" in client.get("/v1/models/service").json()["failures"]["3"]
        assert client.get("/readyz").status_code == 200


def test_another_model_is_served_beside_and_let_go(running: Any) -> None:
    with running.client(headers=AUTHORIZED) as client:
        assert client.post("/v2/models/penguins/infer", json={"inputs": [TENSOR]}).status_code == 404
        assert client.post("/v2/repository/models/penguins/load", json=parameters(version=2)).status_code == 200
        response = client.post("/v1/models/penguins:predict", json=GOOD)
        assert (response.status_code, response.json()["model"]["name"]) == (200, "penguins")
        assert client.get("/v2/models/penguins").json()["versions"] == ["2"]
        assert client.get("/v2/models/penguins/versions/2/ready").json() == {"name": "penguins", "ready": True}
        assert set(index(client)) == {("service", "1"), ("penguins", "2")}
        assert client.post("/v2/repository/models/penguins/unload").status_code == 200
        assert client.post("/v1/models/penguins:predict", json=GOOD).status_code == 404
        assert version_that_answers(client, running) == ("1", "1")


def test_what_answers_by_default_is_not_unloaded_alone(running: Any) -> None:
    with running.client(headers=AUTHORIZED) as client:
        assert client.post(LOAD, json=parameters(version=2)).status_code == 200
        assert client.post(UNLOAD, json=parameters(version=2)).status_code == 409
        assert client.post(UNLOAD, json=parameters(version=1)).status_code == 200
        assert client.post("/v2/models/service/versions/1/infer", json={"inputs": [TENSOR]}).status_code == 404
        assert client.post(UNLOAD).status_code == 200
        assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "sentence"),
    [
        (LOAD, parameters(version=2), {}, 401, "Bearer"),
        (LOAD, parameters(version=2), {"Authorization": "Bearer wrong"}, 401, "Bearer"),
        ("/v2/repository/index", {}, {"Authorization": f"Basic {TOKEN}"}, 401, "Bearer"),
        (LOAD, parameters(version="2"), AUTHORIZED, 400, "must be a whole number"),
        (LOAD, parameters(version=-1), AUTHORIZED, 400, "a number from 1 on"),
        (LOAD, parameters(config="{}"), AUTHORIZED, 400, "'config' is unknown"),
        (LOAD, [1], AUTHORIZED, 400, "must be a JSON object"),
        (LOAD, parameters(version=9), AUTHORIZED, 422, "is not whole in the store"),
        (LOAD, parameters(version=2, digest="sha256:00"), AUTHORIZED, 500, "sha256:00 was asked for"),
        ("/v2/repository/models/nothing/load", {}, AUTHORIZED, 404, "no version of a model 'nothing'"),
        ("/v2/repository/models/nothing/unload", {}, AUTHORIZED, 404, "is not loaded"),
    ],
    ids=[
        "no token",
        "a wrong token",
        "a token of another scheme",
        "a version that is text",
        "a negative version",
        "a parameter that is unknown",
        "a body that is no object",
        "a version that does not exist",
        "a digest that is another",
        "a model that does not exist",
        "a model that is not loaded",
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    repository_server: Any, path: str, body: Any, headers: dict[str, str], status: int, sentence: str
) -> None:
    with repository_server.client() as client:
        response = client.post(path, json=body, headers=headers)
        assert (response.status_code, sentence in response.json()["error"]) == (status, True), response.text
        assert ("www-authenticate" in response.headers) is (status == 401)
        assert version_that_answers(client, repository_server) == ("1", "1")


@pytest.fixture(scope="module")
def repository_server(
    make_shelf: Callable[[], Any], examples: dict[str, Any], start_server: Callable[..., Any], tmp_path_factory: Any
) -> Iterator[Any]:
    shelf = make_shelf()
    first = shelf.publish(examples["numbers"])
    shelf.publish(examples["numbers"], owner="uid-2")
    token_file: Path = tmp_path_factory.mktemp("secret") / "token"
    token_file.write_text(TOKEN + "\n")
    variables = {"WINDLASS_REPOSITORY_TOKEN_FILE": str(token_file)}
    with start_server(shelf.spec(first), shelf.environment, tmp_path_factory.mktemp("server"), **variables) as server:
        yield server


def test_without_a_token_the_extension_is_off(server: Any) -> None:
    with server.client(headers=AUTHORIZED) as client:
        response = client.post("/v2/repository/index")
        assert (response.status_code, "is off" in response.json()["error"]) == (404, True)
        assert not [path for path in client.get("/openapi.json").json()["paths"] if "repository" in path]


def test_a_token_that_protects_nothing_ends_the_process_with_40(
    shelf: Any, examples: dict[str, Any], serve: Callable[..., Any]
) -> None:
    spec = shelf.spec(shelf.publish(examples["numbers"]))
    with serve(spec, shelf.environment, until_ready=False, WINDLASS_REPOSITORY_TOKEN="short") as server:
        assert server.process.wait(30) == 40
        assert "at least 16 characters" in server.result().message
