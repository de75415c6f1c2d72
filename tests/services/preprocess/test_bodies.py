"""How slow a client of an upload may be, by a clock that jumps."""

import asyncio
from collections.abc import Iterable

import pytest
import virtual_time
from starlette.requests import Request
from starlette.types import Message

from windlass_preprocess.bodies import LEAST_BYTES, LEAST_SECONDS, Bodies, BodyTimeout

FOREVER = 7 * 24 * 3600.0
Sent = tuple[float, int]  # after so many seconds of silence, so many bytes


def request(sent: Iterable[Sent]) -> Request:
    """A request whose client sends its body so, and then ends it."""
    steps = iter(sent)

    async def receive() -> Message:
        seconds, size = next(steps, (0, 0))
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": bytes(size), "more_body": size > 0}

    return Request({"type": "http", "method": "PUT", "path": "/", "headers": []}, receive)


async def read(bodies: Bodies, sent: Iterable[Sent], *, writing: float = 0.0) -> int:
    """Bytes that came; each piece takes `writing` seconds to be kept."""
    size = 0
    async with bodies.of(request(sent)) as body:
        async for chunk in body:
            size += len(chunk)
            await asyncio.sleep(writing)
    return size


@pytest.mark.parametrize(
    ("sent", "writing"),
    [
        pytest.param([(50.0, 1)], 0.0, id="a tiny body that takes less than a window"),
        pytest.param([(10.0, LEAST_BYTES // 4)] * 1000, 0.0, id="a slow client for hours"),
        pytest.param([(0.0, 2 * LEAST_BYTES), (59.0, LEAST_BYTES)] * 10, 0.0, id="a client that pauses now and then"),
        pytest.param([(20.0, LEAST_BYTES // 2)] * 10, 3600.0, id="a store that is slower than the client"),
        pytest.param([(59.9, LEAST_BYTES // 2), (0.0, LEAST_BYTES // 2)] * 3, 0.0, id="bytes that come at the last moment"),
    ],
)
def test_a_body_is_read_to_its_end_from(sent: list[Sent], writing: float) -> None:
    assert virtual_time.run(read(Bodies(), sent, writing=writing)) == sum(size for _, size in sent)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        pytest.param([(59.0, 1)] * 10_000, "only 1 bytes came for 60 s, and 262,144 bytes are the least", id="a byte a minute"),
        pytest.param([(1.0, 1000)] * 10_000, "only 59,000 bytes came for 60 s", id="a drip"),
        pytest.param([(FOREVER, 1)], "nothing came for 60 s", id="silence"),
        pytest.param([(0.0, LEAST_BYTES)] * 9 + [(FOREVER, 1)], "nothing came for 60 s", id="silence after a good start"),
    ],
)
def test_a_client_that_is_too_slow_is_told_and_makes_room(sent: list[Sent], told: str) -> None:
    async def story() -> tuple[float, int]:
        bodies = Bodies(at_once=1)
        with pytest.raises(BodyTimeout, match=f"^{told}.*ask by HEAD for its Upload-Offset and send the rest"):
            await read(bodies, sent)
        return asyncio.get_running_loop().time(), await read(bodies, [(0.0, 5)])

    seconds, after = virtual_time.run(story())
    assert seconds <= LEAST_SECONDS + 1
    assert after == 5
