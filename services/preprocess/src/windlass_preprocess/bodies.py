"""Bodies of uploads, bounded: how many at once, and how slow a client may be. Knows no store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from windlass_core.errors import Unavailable, WindlassError

# Each holds up to three parts of 8 MiB in memory, 400 MB in all. Others wait with their bytes on the client's side.
UPLOADS_AT_ONCE = 16
# So long others wait; then they are told, because a client hears nothing while it waits.
WAIT_SECONDS = 120.0
# So many bytes, or the end of the body, have to come within so many seconds: a slower client is gone, or keeps others out.
# The slowest mobile networks carry twice that.
LEAST_BYTES = 256 * 1024
LEAST_SECONDS = 60.0


class BodyTimeout(WindlassError):
    """The client stopped sending, or sends too slowly."""

    http_status = 408
    default_reason = "BodyTimeout"


class Bodies:
    """Hands out the bodies of requests."""

    def __init__(self, *, at_once: int = UPLOADS_AT_ONCE, window: float = LEAST_SECONDS, wait: float = WAIT_SECONDS) -> None:
        """
        Args:
            at_once: bodies that are read at the same time.
            window: seconds within which LEAST_BYTES of a body, or its end, have to come.
            wait: seconds that a body waits for its turn.
        """
        self._slots = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._window = window
        self._wait = wait

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a request, once there is room for it.

        Raises:
            Unavailable: there was no room in time (reason TooManyUploads).
            BodyTimeout: while the body is read, when the client stopped sending, or sends too slowly.
            ClientDisconnect: while the body is read, when the client is gone.
        """
        try:
            async with asyncio.timeout(self._wait):
                await self._slots.acquire()
        except TimeoutError:
            sentence = f"{self._at_once} uploads are under way, and none ended in {self._wait:.0f} s; try again later"
            raise Unavailable(sentence, reason="TooManyUploads") from None
        try:
            yield self._chunks(request)
        finally:
            self._slots.release()

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        stream = request.stream()
        clock = asyncio.get_running_loop().time
        left, came = self._window, 0
        while True:
            before = clock()  # only what is waited for the client counts, not what the store takes
            try:
                async with asyncio.timeout(left):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise BodyTimeout(self._too_slow(came)) from None
            left, came = left - (clock() - before), came + len(chunk)
            if came >= LEAST_BYTES:
                left, came = self._window, 0
            yield chunk

    def _too_slow(self, came: int) -> str:
        told = f"only {came:,} bytes" if came else "nothing"
        return (
            f"{told} came for {self._window:.0f} s, and {LEAST_BYTES:,} bytes are the least; "
            "a file with a digest goes on from what was kept: ask by HEAD for its Upload-Offset and send the rest"
        )
