import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from children import bound_to_us, free_port
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel
from waiting import until

from windlass_core.errors import BadConfiguration, BadData, Conflict, NotFound, Unavailable, UserCodeError, WindlassError
from windlass_core.serving import BackgroundServer, accept_any_size, create_app, problem_response

LOOPBACK = "127.0.0.1"
BODY_LIMIT = 1000
ERRORS: dict[str, Exception] = {
    "configuration": BadConfiguration("steps name no column"),
    "data": BadData("row 3: no number"),
    "missing": NotFound("nothing is at store://raw/x"),
    "conflict": Conflict("something is there"),
    "unavailable": Unavailable("the store does not answer"),
    "code": UserCodeError("train.py raised"),
    "own reason": WindlassError("odd", reason="Odd"),
    "http": HTTPException(418, "a teapot"),
    "unforeseen": RuntimeError("secret detail"),
}


class Item(BaseModel):
    name: str
    size: int


def application() -> FastAPI:
    state: dict[str, str | None] = {"why": None}
    app = create_app("Test", ready=lambda: state["why"], body_limit=BODY_LIMIT)

    @app.post("/items")
    async def items(item: Item) -> Item:
        return item

    @app.get("/fail/{kind}")
    async def fail(kind: str) -> None:
        raise ERRORS[kind]

    @app.put("/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"bytes": sum([len(chunk) async for chunk in request.stream()])}

    @app.put("/any")
    async def any_size(request: Request) -> dict[str, int]:
        accept_any_size(request)
        return {"bytes": sum([len(chunk) async for chunk in request.stream()])}

    @app.put("/ready/{why}")
    async def set_ready(why: str) -> None:
        state["why"] = None if why == "yes" else why

    @app.get("/loop")
    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with BackgroundServer(application(), 0, host=LOOPBACK) as server:
        yield f"http://{LOOPBACK}:{server.port}"


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=10) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "status", "reason", "detail"),
    [
        ("configuration", 400, "BadConfiguration", "steps name no column"),
        ("data", 422, "BadData", "row 3: no number"),
        ("missing", 404, "NotFound", "nothing is at store://raw/x"),
        ("conflict", 409, "Conflict", "something is there"),
        ("unavailable", 503, "Unavailable", "the store does not answer"),
        ("code", 500, "CodeRaised", "train.py raised"),
        ("own reason", 500, "Odd", "odd"),
        ("http", 418, "IMATeapot", "a teapot"),
    ],
)
def test_an_error_is_a_problem_with_its_status_reason_and_sentence(
    client: httpx.Client, kind: str, status: int, reason: str, detail: str
) -> None:
    response = client.get(f"/fail/{kind}", headers={"X-Request-Id": "abc"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    title = problem.pop("title")
    assert title
    assert problem == {
        "type": "about:blank",
        "status": status,
        "detail": detail,
        "reason": reason,
        "requestId": "abc",
    }


def test_an_unforeseen_error_tells_the_client_nothing_but_the_request_id(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = client.get("/fail/unforeseen")
    assert response.status_code == 500
    assert response.json()["reason"] == "InternalError"
    assert response.json()["requestId"] == response.headers["x-request-id"]
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert any(record.exc_info and "secret detail" in str(record.exc_info[1]) for record in caplog.records)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param(b"{", "body", id="no JSON"),
        pytest.param(b'{"name": "x"}', "body.size: Field required", id="a field is missing"),
        pytest.param(b'{"name": "x", "size": "many"}', "body.size: Input should be a valid integer", id="a wrong type"),
    ],
)
def test_an_invalid_request_is_400_and_names_the_field(client: httpx.Client, body: bytes, names: str) -> None:
    response = client.post("/items", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["reason"] == "BadRequest"
    assert names in response.json()["detail"]
    assert response.json()["errors"]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        pytest.param("GET", "/nowhere", 404, "NotFound", id="an unknown path"),
        pytest.param("DELETE", "/items", 405, "MethodNotAllowed", id="a wrong method"),
    ],
)
def test_routing_errors_are_problems_too(client: httpx.Client, method: str, path: str, status: int, reason: str) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.json()["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("abc-123", True, id="a plain id is kept"),
        pytest.param("x" * 129, False, id="a long one is replaced"),
        pytest.param("has space", False, id="one with a space is replaced"),
        pytest.param("", False, id="an empty one is replaced"),
    ],
)
def test_request_ids(client: httpx.Client, given: str, kept: bool) -> None:
    answered = client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"]
    assert (answered == given) is kept
    assert 0 < len(answered) <= 128


@pytest.mark.parametrize("path", ["/items", "/raw"], ids=["read by FastAPI", "streamed by the endpoint"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length announced", "chunked"])
def test_a_body_beyond_the_limit_is_413(client: httpx.Client, path: str, chunked: bool) -> None:
    body = b'{"name": "' + b"x" * BODY_LIMIT + b'", "size": 1}'
    method = "POST" if path == "/items" else "PUT"
    content = iter([body]) if chunked else body
    response = client.request(method, path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.json()["reason"] == "BodyTooLarge"
    assert "1,000 bytes" in response.json()["detail"]


def test_an_endpoint_that_streams_can_take_any_size(client: httpx.Client) -> None:
    assert client.put("/any", content=b"x" * 50_000).json() == {"bytes": 50_000}


def test_readyz_says_why_not(client: httpx.Client) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    client.put("/ready/still loading")
    response = client.get("/readyz")
    client.put("/ready/yes")
    assert response.status_code == 503
    assert (response.json()["reason"], response.json()["detail"]) == ("NotReady", "still loading")


def test_healthz_answers(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}


def test_metrics_count_requests_by_route_template_and_not_by_path(client: httpx.Client) -> None:
    client.get("/fail/missing")
    text = client.get("/metrics").text
    assert 'windlass_http_request_duration_seconds_count{method="GET",route="/fail/{kind}",status="404"}' in text
    assert "/fail/missing" not in text
    assert "process_resident_memory_bytes" in text


def test_the_loop_is_uvloop(client: httpx.Client) -> None:
    assert client.get("/loop").json() == "uvloop"


def test_a_problem_can_be_made_without_the_application() -> None:
    response = problem_response(BadData("row 1 is short"), "r-9")
    assert response.status_code == 422
    assert json.loads(bytes(response.body))["requestId"] == "r-9"


def test_a_taken_port_is_unavailable_and_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(Unavailable, match=f"port {port} cannot be listened on"),
            BackgroundServer(application(), port, host=LOOPBACK),
        ):
            pass


def test_an_application_that_does_not_start_is_told_and_not_waited_for() -> None:
    @asynccontextmanager
    async def broken(_app: FastAPI) -> AsyncIterator[None]:
        int("no store")
        yield

    app = create_app("Broken", ready=lambda: None, lifespan=broken)
    with pytest.raises(Unavailable, match="did not start"), BackgroundServer(app, 0, host=LOOPBACK):
        pass


DRAINING_PROGRAM = """
import asyncio, sys
from pathlib import Path
from windlass_core.serving import create_app, serve
app = create_app("Draining", ready=lambda: None)
@app.get("/slow")
async def slow() -> str:
    Path(sys.argv[2]).touch()
    while not Path(sys.argv[3]).exists():
        await asyncio.sleep(0.01)
    return "done"
serve(app, int(sys.argv[1]), host="127.0.0.1", drain_delay=0.5, drain=10)
"""


wait_until = partial(until, seconds=20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_sigterm_answers_on_asks_clients_to_leave_and_finishes_what_is_in_flight(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    entered, release = tmp_path / "entered", tmp_path / "release"
    program = [sys.executable, "-c", DRAINING_PROGRAM, str(port), str(entered), str(release)]
    with subprocess.Popen(bound_to_us(program)) as process:
        try:
            wait_until(lambda: answers(url), "the server answers")
            slow = subprocess.Popen(
                [sys.executable, "-c", f"import httpx; print(httpx.get('{url}/slow', timeout=30).text)"],
                stdout=subprocess.PIPE,
                text=True,
            )
            wait_until(entered.exists, "the slow request is in flight")
            process.send_signal(signal.SIGTERM)
            wait_until(
                lambda: httpx.get(f"{url}/healthz", timeout=5).headers.get("connection") == "close",
                "clients are asked to leave",
                0.4,
            )
            wait_until(lambda: not answers(url), "new connections are refused")
            assert process.poll() is None, "the request in flight keeps the process"
            release.touch()
            assert slow.communicate(timeout=20)[0].strip() == '"done"'
            assert process.wait(20) == 0
        finally:
            process.kill()
