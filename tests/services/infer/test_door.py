"""The door under bad company: bodies too large, too slow or too many, clients that leave, engines that break."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from door_bench import BODY, DEADLINE_SECONDS, INFER, PREDICT, SHED_AT_DOOR, VERSION, Client, Served
from prometheus_client import CollectorRegistry
from waiting import until_on_loop

from windlass_core.direct import DirectRequest
from windlass_core.heads import Head
from windlass_core.lasting import BURST_SECONDS
from windlass_infer.app import create
from windlass_infer.intake import Intake
from windlass_infer.lanes import runners
from windlass_infer.service import Service


@pytest.fixture
def run(shelf: Any, examples: dict[str, Any]) -> Callable[..., None]:
    """Runs a test against a served model, within the deadline."""
    spec = shelf.spec(shelf.publish(examples["numbers"]))

    @asynccontextmanager
    async def served(slo: float | None = None, **limits: Any) -> AsyncIterator[Served]:
        registry = CollectorRegistry()
        bounded = spec.model_copy(update={"slo_p99_seconds": slo})
        service = Service(bounded, lambda: shelf.store, registry=registry)
        app = create(service, intake=Intake(**limits))
        async with service.running():
            await until_on_loop(lambda: service.loaded is not None)
            yield Served(app, service, registry)

    def run_test(test: Callable[[Served], Coroutine[Any, Any, None]], **limits: Any) -> None:
        async def whole() -> None:
            async with served(**limits) as running:
                await test(running)

        asyncio.run(asyncio.wait_for(whole(), DEADLINE_SECONDS))

    return run_test


def pieces(body: bytes, size: int) -> list[dict[str, Any]]:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return [{"body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)]


def test_a_body_in_pieces_is_put_together(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        client = await Client(served.app).ask(*pieces(BODY, 5))
        assert (client.status, client.json["predictions"]) == (200, [8])

    run(test)


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "by what comes"])
def test_a_body_that_is_too_large_is_413(run: Callable[..., None], path: str, announced: bool) -> None:
    async def test(served: Served) -> None:
        headers = {"Content-Length": "101"} if announced else {}
        client = await Client(served.app, path, headers=headers).ask(*pieces(b" " * 101, 60))
        assert client.status == 413
        assert "larger than 100 bytes" in (client.json["detail"] if path == PREDICT else client.json["error"])

    run(test, max_body_bytes=100)


def test_a_body_that_does_not_arrive_is_408_and_its_slot_is_free_again(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        client = await Client(served.app).ask({"body": BODY[:5], "more_body": True})
        assert (client.status, client.json["reason"]) == (408, "RequestTimeout")
        assert (await Client(served.app).ask({"body": BODY})).status == 200

    run(test, body_seconds=0.05, max_requests=1, max_held_bytes=len(BODY))


def test_more_requests_than_slots_are_429_with_a_time_to_try_again(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        first = asyncio.create_task(Client(served.app).ask({"body": BODY}))
        await until_on_loop(held.entered.is_set)
        refused = await Client(served.app).ask({"body": BODY})
        assert (refused.status, refused.json["reason"]) == (429, "Overloaded")
        assert refused.answer_headers["retry-after"] == "1"
        assert refused.answer_headers["x-model-version"] == "1"
        assert served.registry.get_sample_value("windlass_infer_shed_total", SHED_AT_DOOR) == 1
        held.go.set()
        assert (await first).status == 200
        assert (await Client(served.app).ask({"body": BODY})).status == 200

    run(test, max_requests=1)


def test_bodies_that_fill_the_memory_are_429(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        first = asyncio.create_task(Client(served.app).ask({"body": BODY}))
        await until_on_loop(held.entered.is_set)
        refused = await Client(served.app, INFER).ask({"body": BODY})
        assert (refused.status, "fill the memory" in refused.json["error"]) == (429, True)
        held.go.set()
        assert (await first).status == 200

    run(test, max_held_bytes=len(BODY) + 1)


def test_a_client_that_leaves_while_it_sends_leaves_its_slot(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        gone = asyncio.Event()
        gone.set()
        left = await Client(served.app).ask({"body": BODY[:3], "more_body": True}, wait_for=gone)
        assert left.status == 0
        assert (await Client(served.app).ask({"body": BODY})).status == 200

    run(test, max_requests=1)


def test_a_client_that_leaves_while_it_waits_leaves_the_queue(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        gone = asyncio.Event()
        first = asyncio.create_task(Client(served.app).ask({"body": BODY}))
        await until_on_loop(held.entered.is_set)
        two_rows = orjson.dumps({"instances": [[1, 2, 9], [1, 2, 9]]})
        leaver = asyncio.create_task(Client(served.app).ask({"body": two_rows}, wait_for=gone))
        await until_on_loop(lambda: served.registry.get_sample_value("windlass_infer_rows_in_flight", VERSION) == 3)
        gone.set()
        assert (await leaver).status == 0
        held.go.set()
        assert (await first).status == 200
        await until_on_loop(lambda: served.registry.get_sample_value("windlass_infer_rows_in_flight", VERSION) == 0)
        assert held.rows == [1]

    run(test)


@pytest.mark.parametrize(
    ("path", "slo", "headers"),
    [(PREDICT, 1.0, {}), (INFER, None, {"Request-Timeout": "1.5"}), (PREDICT, 60.0, {"Request-Timeout": "0.25"})],
    ids=["the server's objective", "the caller's header", "the caller's header before the objective"],
)
def test_what_cannot_be_in_time_is_429_before_its_body_is_read(
    run: Callable[..., None], path: str, slo: float | None, headers: dict[str, str]
) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        first = asyncio.create_task(Client(served.app, headers={"Request-Timeout": "60"}).ask({"body": BODY}))
        await until_on_loop(held.entered.is_set)
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            refused = await Client(served.app, path, headers=headers).ask()  # no body comes
            seconds.append(time.perf_counter() - started)
            assert refused.status == 429
            assert int(refused.answer_headers["retry-after"]) >= 3, "a batch of 5 s is running, and one more would come"
            assert "must be there in" in (refused.json["detail"] if path == PREDICT else refused.json["error"])
        assert min(seconds) < 0.01
        assert served.registry.get_sample_value("windlass_infer_shed_total", VERSION | {"reason": "deadline"}) == 20
        held.go.set()
        assert (await first).status == 200

    run(test, slo=slo)


def test_the_time_of_the_protocol_s_own_parameter_counts(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        first = asyncio.create_task(Client(served.app).ask({"body": BODY}))
        await until_on_loop(held.entered.is_set)
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 9]}
        for microseconds, status in ((1_000_000, 429), (0, 200), (60_000_000, 200)):
            body = orjson.dumps({"inputs": [tensor], "parameters": {"timeout": microseconds}})
            asked = asyncio.create_task(Client(served.app, INFER).ask({"body": body}))
            if status == 200:
                held.go.set()
            assert (await asked).status == status
        await first

    run(test)


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_time_that_is_none_is_400(run: Callable[..., None], given: str) -> None:
    async def test(served: Served) -> None:
        refused = await Client(served.app, headers={"Request-Timeout": given}).ask({"body": BODY})
        assert (refused.status, "number of seconds" in refused.json["detail"]) == (400, True)

    run(test)


def test_a_time_that_is_none_is_told_each_time_and_nothing_of_a_request_is_kept(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        statuses: list[int] = []

        class Connected:
            socket, received, note = None, 0.0, None

            def direct_answer(self, _request: DirectRequest, status: int, _headers: bytes, _body: bytes) -> None:
                statuses.append(status)

        head = Head.of(PREDICT.encode(), [(b"request-timeout", b"soon")])
        for _ in range(3):
            assert served.app.state.direct.handlers[head.url](DirectRequest(Connected(), head, BODY, keep_alive=True))
        assert statuses == [400] * 3
        assert head.note.wrong.__traceback__ is None

    run(test)


def test_under_overload_bodies_are_read_behind_the_heads_and_not_at_all_for_clients_that_left(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        statuses: dict[bytes, int] = {}

        class Connected:
            socket, received, note = None, time.perf_counter(), None

            def direct_answer(self, request: DirectRequest, status: int, _headers: bytes, _body: bytes) -> None:
                statuses[request.body] = status

        assert served.service._runners
        turns, now = served.service._runners.turns, time.perf_counter()
        for refused_at in (now - 2 * BURST_SECONDS, now):
            turns.refused(refused_at)
        head = Head.of(PREDICT.encode(), [])
        answered, left, wrong = BODY, BODY + b" ", b"{"
        for body in (answered, left, wrong):
            request = DirectRequest(Connected(), head, body, keep_alive=True)
            assert served.app.state.direct.handlers[head.url](request)
            request.disconnected = body is left
        assert statuses == {}, "the turn has read heads only"
        await until_on_loop(lambda: len(statuses) == 3)
        assert statuses == {answered: 200, left: 503, wrong: 400}
        again = await Client(served.app).ask({"body": BODY})
        assert again.status == 200, "no slot was kept"

    run(test, max_requests=3)


def test_an_engine_that_hangs_makes_the_health_check_fail(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        asyncio.create_task(Client(served.app).ask({"body": BODY}))  # noqa: RUF006  # ends when the engine is closed
        await until_on_loop(held.entered.is_set)
        assert (await Client(served.app, "/healthz", "GET").ask()).status == 200
        monkeypatch.setattr(runners, "HANGING_SECONDS", 0.0)
        monkeypatch.setattr(runners, "HANGING_RATIO", 0.0)
        failed = await Client(served.app, "/healthz", "GET").ask()
        assert (failed.status, failed.json["reason"]) == (503, "NotAlive")
        assert "has not come back from a batch" in failed.json["detail"]
        held.go.set()

    run(test)


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_an_engine_that_breaks_is_500_without_its_words_and_the_next_request_is_tried(
    run: Callable[..., None], path: str
) -> None:
    async def test(served: Served) -> None:
        held = served.hold()
        held.go.set()
        held.error = RuntimeError("secret detail")
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 9]}
        body = BODY if path == PREDICT else orjson.dumps({"inputs": [tensor]})
        broken = await Client(served.app, path).ask({"body": body})
        assert broken.status == 500
        assert "failed on this request" in (broken.json["detail"] if path == PREDICT else broken.json["error"])
        assert b"secret" not in broken.body
        held.error = None
        assert (await Client(served.app, path).ask({"body": body})).status == 200

    run(test)


def test_a_large_body_is_answered_like_a_small_one(run: Callable[..., None]) -> None:
    async def test(served: Served) -> None:
        rows = [[1, 2, 9], [9, 0, 0], [0, 9, 0]] * 5000
        client = await Client(served.app).ask({"body": orjson.dumps({"instances": rows})})
        assert (client.status, client.json["predictions"]) == (200, [8, 3, 5] * 5000)

    run(test)


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "sentence"),
    [
        (PREDICT, "GET", {}, 405, "POST"),
        (INFER, "PUT", {}, 405, "POST"),
        (PREDICT, "POST", {"Content-Encoding": "br"}, 415, "must be one of gzip, deflate, zstd or none"),
        (INFER, "POST", {"Content-Encoding": "gzip, gzip"}, 415, "must be one of gzip, deflate, zstd or none"),
        (PREDICT, "POST", {"Content-Encoding": "gzip"}, 400, "the body is not gzip"),
        (PREDICT, "POST", {"Content-Type": "text/html"}, 415, "application/json, application/x-npy, application/octet-stream"),
        (INFER, "POST", {"Content-Type": "image/png"}, 415, "not 'image/png'"),
        ("/v2/models/service/versions/2/infer", "POST", {}, 404, "version 1 of the model 'service'"),
        ("/v2/models/other/infer", "POST", {}, 404, "version 1 of the model 'service'"),
        ("/v1/models/other:predict", "POST", {}, 404, "/v1/models/service:predict"),
    ],
    ids=[
        "predict by GET",
        "infer by PUT",
        "packed as this server does not unpack",
        "packed twice",
        "packed by its headers only",
        "a type that no model takes",
        "a type that this model does not take",
        "another version",
        "another model for infer",
        "another model for predict",
    ],
)
def test_what_cannot_be_asked_is_said(
    run: Callable[..., None], path: str, method: str, headers: dict[str, str], status: int, sentence: str
) -> None:
    async def test(served: Served) -> None:
        client = await Client(served.app, path, method, headers).ask({"body": BODY})
        assert client.status == status
        assert sentence in client.json["error" if path.startswith("/v2") else "detail"]
        if status == 405:
            assert client.answer_headers["allow"] == "POST"

    run(test)
