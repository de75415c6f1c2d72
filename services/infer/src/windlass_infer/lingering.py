"""An answer to a request whose body has not all come: given at once, and what comes after it is taken and dropped.

A connection that is closed while bytes are on their way to us is reset, and the client may lose an answer that it has not read
yet: most write the whole body before they look. Plain ASGI; knows no protocol and no model.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from windlass_infer.intake import BODY_SECONDS


class Incoming:
    """`receive` of one request, which knows whether some of the body is still to come."""

    __slots__ = ("_receive", "more")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.more = any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in scope["headers"]
        )

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        self.more = self.more and message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drop_rest(self) -> None:
        """Take the rest of the body, as far as it comes in the time that a body has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BODY_SECONDS):
                while self.more:
                    await self()


async def answer(response: Response, scope: Scope, incoming: Incoming, send: Send) -> None:
    """Send a response, and end it only after the body; not for a client whose body has been waited for already."""

    async def send_last_later(message: Message) -> None:
        if message["type"] == "http.response.body" and incoming.more and response.status_code != HTTPStatus.REQUEST_TIMEOUT:
            await send({**message, "more_body": True})
            await incoming.drop_rest()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    await response(scope, incoming, send_last_later)
