"""Data that waits in the kernel is known to have waited, and never longer than it has."""

import asyncio
import os
import socket
import time

from windlass_core.waiting import TICK_SECONDS, Borrowed, borrowed, unread_seconds

DEADLINE_SECONDS = 10.0
# Several ticks of any kernel.
LONG_SECONDS = 0.05


class Ends(asyncio.Protocol):
    """A connection of which nothing is read."""

    def __init__(self) -> None:
        self.made: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self.made.set_result(transport)


def test_the_age_of_data_grows_until_more_comes_and_is_never_too_high() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        protocol = Ends()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname(), timeout=DEADLINE_SECONDS) as client:
            transport = await protocol.made
            connection = borrowed(transport)
            assert connection is not None
            for _ in range(3):
                began = time.perf_counter()
                client.sendall(b"x")
                while (age := unread_seconds(connection)) < LONG_SECONDS:
                    passed = time.perf_counter() - began
                    assert age <= passed
                    assert passed < DEADLINE_SECONDS
            descriptor = connection.fileno()
            del connection
            assert os.fstat(descriptor), "what was borrowed is not closed"
            transport.abort()
            await protocol.lost
        server.close()
        await server.wait_closed()

    asyncio.run(test())


def test_what_is_no_tcp_has_not_waited() -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            protocol = Ends()
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, ours)
            transport = await protocol.made
            assert borrowed(transport) is None
            transport.abort()

    asyncio.run(test())


def test_of_a_broken_connection_nothing_is_known() -> None:
    with socket.socket() as closed:
        connection = Borrowed(closed.family, closed.type, closed.proto, closed.fileno())
    assert unread_seconds(connection) == 0.0


def test_a_tick_of_the_kernel_is_known() -> None:
    assert 0 < TICK_SECONDS <= 0.01
