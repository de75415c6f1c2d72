"""Which requests open a stream, and what the probes say until all are open."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import builders as b
import pytest
from aiohttp.test_utils import make_mocked_request
from fake_cluster import FakeCluster
from virtual_time import run
from yarl import URL

from windlass_operator.api import DATASET, POD, Key
from windlass_operator.health import LONGEST_OPENING_SECONDS, Health
from windlass_operator.intake import Intake
from windlass_operator.queue import WorkQueue
from windlass_operator.resync import Resync
from windlass_operator.streams import Streams

POD_WATCH, DATASET_WATCH = "/api/v1/pods?watch=true", "/apis/windlass.dev/v1alpha1/datasets?watch=true"


async def answer(streams: Streams, target: str, status: int = 200) -> None:
    """One request of kopf's session is answered."""
    (told,) = streams.trace().on_request_end
    request = SimpleNamespace(url=URL(f"https://server{target}"), response=SimpleNamespace(status=status))
    await told(cast("aiohttp.ClientSession", None), SimpleNamespace(), cast("Any", request))


@pytest.mark.parametrize(
    ("target", "status", "missing"),
    [
        pytest.param(POD_WATCH, 200, ["datasets"], id="a watch is answered"),
        pytest.param(f"/k8s/clusters/one{POD_WATCH}", 200, ["datasets"], id="a watch is answered through a proxy"),
        pytest.param(POD_WATCH, 429, ["datasets", "pods"], id="a watch is refused"),
        pytest.param("/api/v1/pods?limit=500", 200, ["datasets", "pods"], id="a kind is listed"),
        pytest.param(f"/api/v1/namespaces/{b.NAMESPACE}/pods?watch=true", 200, ["datasets", "pods"], id="another is watched"),
    ],
)
def test_what_is_missing_when(target: str, status: int, missing: list[str]) -> None:
    streams = Streams((DATASET, POD), ())
    run(answer(streams, target, status))
    assert streams.missing() == missing


def test_an_operator_of_some_namespaces_needs_a_stream_in_each() -> None:
    streams = Streams((POD,), ("a", "b"))
    run(answer(streams, "/api/v1/namespaces/a/pods?watch=true"))
    assert streams.missing() == ["pods"]
    run(answer(streams, "/api/v1/namespaces/b/pods?watch=true"))
    assert streams.missing() == []


def probed(streams: Streams) -> Health:
    queue: WorkQueue[Key] = WorkQueue(lambda _: asyncio.sleep(0, None), workers=1)
    return Health(queue, Resync(FakeCluster(), Intake(queue), queue, ()), streams)


def test_it_is_ready_when_all_are_open_and_stays_so_when_one_begins_anew() -> None:
    async def play() -> list[int]:
        streams, request, told = Streams((DATASET, POD), ()), make_mocked_request("GET", "/"), []
        health = probed(streams)
        for target, status in [(POD_WATCH, 200), (DATASET_WATCH, 429), (DATASET_WATCH, 200), (POD_WATCH, 429)]:
            await answer(streams, target, status)
            told.append((await health.readyz(request)).status)
        return told

    assert run(play()) == [503, 503, 200, 200]


def test_it_should_be_restarted_when_a_stream_that_there_is_something_for_never_opens() -> None:
    async def play() -> list[str | None]:
        streams = Streams((DATASET, POD), ())
        health, told = probed(streams), []
        for step in (lambda: None, streams.begin):
            step()
            await asyncio.sleep(LONGEST_OPENING_SECONDS + 1)
            await answer(streams, POD_WATCH)
            told.append(health.fault())
        await answer(streams, DATASET_WATCH)
        return [*told, health.fault()]

    assert run(play()) == [None, "the watch streams of datasets have not opened in 121 s", None]
