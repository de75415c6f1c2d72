"""What this server takes in at once: requests, the bytes of their bodies, and the time that a body may take to arrive.

A slow or vanished client holds a slot no longer than BODY_SECONDS, and all bodies together no more than MAX_HELD_BYTES. Plain
ASGI on the event loop; knows no protocol and no model.
"""

import asyncio
from collections import Counter
from typing import Self

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from windlass_infer.errors import Overloaded, RequestTimeout, TooLarge

# A JSON body stops everybody else while it is parsed, about 5 ms a MB, and becomes some twenty times its size in memory on its
# way to features: this keeps the longest stop below a twentieth of a second, and the memory below 200 MB.
MAX_BODY_BYTES = 8 * 1024 * 1024
# Bodies of all requests in flight.
MAX_HELD_BYTES = 32 * 1024 * 1024
MAX_REQUESTS = 1024
# For a body of the largest size this is a quarter of a MB a second; clients inside a cluster are a hundred times faster.
BODY_SECONDS = 30.0


# The reason under which a refusal here is counted.
SHED_AT_DOOR = "door"


class Intake:
    """Counts what is in flight and refuses what is too much. Used on the event loop only."""

    def __init__(
        self,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_held_bytes: int = MAX_HELD_BYTES,
        max_requests: int = MAX_REQUESTS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_held_bytes
        self._max_requests = max_requests
        self._body_seconds = body_seconds
        self._requests = 0
        self._held_bytes = 0

    def enter(self, shed: Counter[str]) -> "Slot":
        """A slot for one request; the caller leaves it, whatever happens. Raises Overloaded, and counts it in `shed`."""
        if self._requests >= self._max_requests:
            shed[SHED_AT_DOOR] += 1
            raise Overloaded(f"{self._requests} requests are in flight already; try again a little later")
        self._requests += 1
        return Slot(self, shed)

    async def _read(self, slot: "Slot", scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body_bytes:
                raise self._too_large()
        message = await self._next(receive)
        if not message.get("more_body"):
            return self._hold(slot, message.get("body", b""))
        try:
            async with asyncio.timeout(self._body_seconds):
                return await self._read_on(slot, message, receive)
        except TimeoutError:
            raise RequestTimeout(f"the body did not arrive within {self._body_seconds:.0f} s") from None

    async def _read_on(self, slot: "Slot", message: Message, receive: Receive) -> bytes:
        pieces = [self._hold(slot, message.get("body", b""))]
        while message.get("more_body"):
            message = await self._next(receive)
            pieces.append(self._hold(slot, message.get("body", b"")))
        return b"".join(pieces)

    async def _next(self, receive: Receive) -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message

    def _hold(self, slot: "Slot", piece: bytes) -> bytes:
        self._count(slot, len(piece))
        if slot.held_bytes > self._max_body_bytes:
            raise self._too_large()
        return piece

    def _count(self, slot: "Slot", count: int) -> None:
        slot.held_bytes += count
        self._held_bytes += count
        if self._held_bytes > self._max_held_bytes:
            slot.shed[SHED_AT_DOOR] += 1
            raise Overloaded(
                "the bodies of other requests fill the memory that this server gives them; try again a little later"
            )

    def _leave(self, slot: "Slot") -> None:
        self._requests -= 1
        self._held_bytes -= slot.held_bytes

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_body_bytes:,} bytes; send fewer rows in a request")


class Slot:
    """One request in flight."""

    __slots__ = ("_intake", "held_bytes", "shed")

    def __init__(self, intake: Intake, shed: Counter[str]) -> None:
        self._intake = intake
        self.held_bytes = 0
        self.shed = shed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it is, or says that it is, larger than a body may be.
            RequestTimeout: it did not arrive in time.
            Overloaded: bodies of other requests fill the memory.
            ClientDisconnect: the client went away.
        """
        return await self._intake._read(self, scope, receive)

    def hold(self, count: int) -> None:
        """Count bytes that the request takes beside its body: what the body became. Raises Overloaded."""
        self._intake._count(self, count)

    def leave(self) -> None:
        """Give the slot back."""
        self._intake._leave(self)
