"""Bodies of uploads, bounded: how many at once, and how long a client may say nothing. Knows no store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from windlass_core.errors import Unavailable, WindlassError

# Each holds up to three parts of 8 MiB in memory, 400 MB in all. Others wait with their bytes on the client's side.
UPLOADS_AT_ONCE = 16
# So long others wait; then they are told, because a client hears nothing while it waits.
WAIT_SECONDS = 120.0
# A client that sends nothing for so long is gone, or would keep others out.
SILENCE_SECONDS = 60.0


class BodyTimeout(WindlassError):
    """The client stopped sending."""

    http_status = 408
    default_reason = "BodyTimeout"


class Bodies:
    """Hands out the bodies of requests."""

    def __init__(self, *, at_once: int = UPLOADS_AT_ONCE, silence: float = SILENCE_SECONDS, wait: float = WAIT_SECONDS) -> None:
        """
        Args:
            at_once: bodies that are read at the same time.
            silence: seconds that a client may send nothing.
            wait: seconds that a body waits for its turn.
        """
        self._slots = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._silence = silence
        self._wait = wait

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a request, once there is room for it.

        Raises:
            Unavailable: there was no room in time (reason TooManyUploads).
            BodyTimeout: while the body is read, when the client stopped sending.
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
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                sentence = f"nothing came for {self._silence:.0f} s; a file with a digest goes on from what was kept"
                raise BodyTimeout(sentence) from None
            yield chunk
