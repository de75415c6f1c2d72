"""The connections to the API server: open before they are needed, shared by requests, given up in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import builders as b
import pytest
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from windlass_operator import cluster
from windlass_operator.api import POD
from windlass_operator.cluster import KEEPALIVE_SECONDS, WARM_CONNECTIONS, WARM_EVERY_SECONDS, KubernetesCluster

LIMIT_SECONDS = 5.0  # well below the 15 s after which aiohttp by itself gives a connection up
SERVER_GIVES_UP_SECONDS = 90.0  # IdleTimeout of the HTTP server of kube-apiserver
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """An API server without objects.

    Args:
        together: the first answers go out when it has been asked so often, as when it is asked so often at once.
    """

    def __init__(self, together: int = 1) -> None:
        self.connections = 0
        self.given_up = asyncio.Event()
        self._missing = together
        self._enough = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            self._missing -= 1
            if self._missing <= 0:
                self._enough.set()
            await self._enough.wait()
            writer.write(NOT_FOUND)
        writer.close()
        self.given_up.set()


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[KubernetesCluster]:
    """A client of the server."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = client_of(port)
    async with listening:
        try:
            yield client
        finally:
            await client.close()


def client_of(port: int) -> KubernetesCluster:
    return KubernetesCluster(ApiClient(Configuration(host=f"http://127.0.0.1:{port}")))


def test_the_widest_look_of_a_round_finds_its_connections_open() -> None:
    async def play() -> tuple[int, int]:
        server = Server(together=WARM_CONNECTIONS)
        async with connected(server) as client:
            await client.warm()
            before = server.connections
            await asyncio.gather(*(client.get(POD, b.NAMESPACE, str(number)) for number in range(WARM_CONNECTIONS)))
            return before, server.connections

    assert asyncio.run(play()) == (WARM_CONNECTIONS, WARM_CONNECTIONS)


def test_a_connection_that_nobody_uses_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "KEEPALIVE_SECONDS", 0.05)

    async def play() -> None:
        server = Server()
        async with connected(server) as client:
            await client.get(POD, b.NAMESPACE, "pod")
            async with asyncio.timeout(LIMIT_SECONDS):
                await server.given_up.wait()

    asyncio.run(play())


def test_a_connection_outlives_a_turn_that_was_missed_but_not_the_servers_patience() -> None:
    assert 2 * WARM_EVERY_SECONDS < KEEPALIVE_SECONDS < SERVER_GIVES_UP_SECONDS


def test_a_server_that_is_away_is_no_fault() -> None:
    async def play() -> None:
        client = client_of(port=1)
        await client.warm()
        await client.close()

    asyncio.run(play())
