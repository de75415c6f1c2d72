"""Bodies of uploads, bounded: how many at once, and how long a client may say nothing. Knows no store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from windlass_core.errors import WindlassError

# Each holds up to three parts in memory, 400 MB in all. Others wait with their bytes on the client's side.
UPLOADS_AT_ONCE = 16
# A client that sends nothing for so long is gone, or would keep others out.
SILENCE_SECONDS = 60.0


class BodyTimeout(WindlassError):
    """The client stopped sending."""

    http_status = 408
    default_reason = "BodyTimeout"


class Bodies:
    """Hands out the bodies of requests."""

    def __init__(self, *, at_once: int = UPLOADS_AT_ONCE, silence: float = SILENCE_SECONDS) -> None:
        """
        Args:
            at_once: bodies that are read at the same time.
            silence: seconds that a client may send nothing.
        """
        self._slots = asyncio.Semaphore(at_once)
        self._silence = silence

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a request, once there is room for it.

        Raises, while it is read:
            BodyTimeout: the client stopped sending.
            ClientDisconnect: the client is gone.
        """
        async with self._slots:
            yield self._chunks(request)

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
