"""Asking pods for progress: real HTTP on the loopback, and what no pod may do to the operator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import builders as b
import pytest
from aiohttp import web

from windlass_core.contracts import Progress
from windlass_operator import progress
from windlass_operator.api import Key
from windlass_operator.progress import ProgressScraper

KEY = Key("TrainingJob", b.NAMESPACE, "run")


class Pod:
    """A run pod on the loopback that answers as a test says."""

    def __init__(self) -> None:
        self.answer: web.Response | None = None
        self.asked = 0

    def says(self, step: int) -> None:
        told = Progress(phase="Training", step=step, steps=100, at=b.NOW)
        self.answer = web.Response(text=told.to_json_text(), content_type="application/json")

    async def handle(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return web.Response(body=self.answer.body, status=self.answer.status, content_type=self.answer.content_type)


@asynccontextmanager
async def serving(pod: Pod) -> AsyncIterator[int]:
    """The port of a pod that is served."""
    app = web.Application()
    app.add_routes([web.get("/progress", pod.handle)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def ask(scraper: ProgressScraper, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "RUN_PORT", port)
    timeout = aiohttp.ClientTimeout(total=0.3)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await scraper.ask_due(session)


def test_news_is_told_once_and_the_same_answer_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)

    async def play() -> list[Key]:
        told: list[Key] = []
        pod, scraper = Pod(), ProgressScraper(told.append)
        pod.says(1)
        async with serving(pod) as port:
            scraper.follow(KEY, "127.0.0.1")
            for step in (1, 1, 2):
                pod.says(step)
                await ask(scraper, port, monkeypatch)
        answer = scraper.latest(KEY)
        assert answer is not None
        assert answer.step == 2
        return told

    assert asyncio.run(play()) == [KEY, KEY]


def test_an_answer_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    class Piecemeal(Pod):
        """Sends the second half when the first has gone through the loop."""

        async def handle(self, request: web.Request) -> web.StreamResponse:
            body = Progress(phase="Training", step=7, steps=100, at=b.NOW).to_json_text().encode()
            response = web.StreamResponse()
            await response.prepare(request)
            for half in (body[: len(body) // 2], body[len(body) // 2 :]):
                await response.write(half)
                for _ in range(100):
                    await asyncio.sleep(0)
            return response

    async def play() -> Progress | None:
        pod, scraper = Piecemeal(), ProgressScraper(lambda _: None)
        async with serving(pod) as port:
            scraper.follow(KEY, "127.0.0.1")
            await ask(scraper, port, monkeypatch)
        return scraper.latest(KEY)

    answer = asyncio.run(play())
    assert answer is not None
    assert answer.step == 7


def test_a_pod_is_not_asked_again_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> int:
        pod, scraper = Pod(), ProgressScraper(lambda _: None)
        pod.says(1)
        async with serving(pod) as port:
            for _ in range(5):
                scraper.follow(KEY, "127.0.0.1")
                await ask(scraper, port, monkeypatch)
        return pod.asked

    assert asyncio.run(play()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="never answers"),
        pytest.param(web.Response(status=500), id="answers with an error"),
        pytest.param(web.Response(text="<html>"), id="answers with something else"),
        pytest.param(web.Response(text="9" * 1_000_000), id="answers without end"),
        pytest.param(web.Response(text='{"phase": 7}'), id="answers with wrong types"),
    ],
)
def test_there_is_no_progress_from_a_pod_that(answer: web.Response | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        told: list[Key] = []
        pod, scraper = Pod(), ProgressScraper(told.append)
        pod.answer = answer
        async with serving(pod) as port:
            scraper.follow(KEY, "127.0.0.1")
            await ask(scraper, port, monkeypatch)
            assert (scraper.latest(KEY), told) == (None, [])

    asyncio.run(play())


def test_figures_that_are_no_numbers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> Progress | None:
        pod, scraper = Pod(), ProgressScraper(lambda _: None)
        text = '{"phase": "Training", "samplesPerSecond": NaN, "etaSeconds": Infinity, "at": "2026-01-01T00:00:00Z"}'
        pod.answer = web.Response(text=text)
        async with serving(pod) as port:
            scraper.follow(KEY, "127.0.0.1")
            await ask(scraper, port, monkeypatch)
        return scraper.latest(KEY)

    answer = asyncio.run(play())
    assert answer is not None
    assert (answer.samples_per_second, answer.eta_seconds) == (None, None)


def test_what_an_earlier_pod_said_is_forgotten_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        pod, scraper = Pod(), ProgressScraper(lambda _: None)
        pod.says(5)
        async with serving(pod) as port:
            scraper.follow(KEY, "127.0.0.1")
            await ask(scraper, port, monkeypatch)
        assert scraper.latest(KEY) is not None
        scraper.follow(KEY, "127.0.0.2")
        assert scraper.latest(KEY) is None
        scraper.forget(KEY)
        assert scraper.latest(KEY) is None

    asyncio.run(play())
