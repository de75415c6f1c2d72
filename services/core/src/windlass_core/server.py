"""Running an ASGI application: in the foreground until SIGTERM with a drain, or in a thread beside a run.

Always uvloop and httptools, by name: uvicorn's `auto` falls back silently to an event loop and a parser several times slower.
Knows no routes: `serving.py` makes the applications.
"""

import asyncio
import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Self, cast

import uvicorn
from starlette.types import ASGIApp

from windlass_core.contracts import RUN_PORT
from windlass_core.direct import Direct
from windlass_core.direct_protocol import DirectProtocol
from windlass_core.errors import Unavailable
from windlass_core.listening import ALL_INTERFACES, BACKLOG, DRAIN_DELAY_SECONDS, DRAIN_SECONDS, LINGER_SECONDS, listen
from windlass_core.patience import LOOK_SECONDS, end_slow
from windlass_core.processes.crew import Crew, WorkerCrew
from windlass_core.relief import Relief

# Of a server beside a run: the run is over, and nobody waits for more than one small answer.
BACKGROUND_DRAIN_SECONDS = 1
# A lifespan that opens what it needs takes seconds; one that takes longer hangs.
START_SECONDS = 120.0
# Objects made and not freed after which the collector looks at the young ones; with Python's 700 it looks every 50 requests.
GARBAGE_THRESHOLD = 50_000

_CLOSE = ("connection", "close")
_log = logging.getLogger(__name__)


def serve(
    app: ASGIApp,
    port: int = RUN_PORT,
    *,
    host: str = ALL_INTERFACES,
    drain_delay: float = DRAIN_DELAY_SECONDS,
    drain: int = DRAIN_SECONDS,
    on_drain: Callable[[], None] = lambda: None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until SIGTERM; then answer on for `drain_delay` seconds, asking clients to leave, and finish what is in flight.

    A process of several (see `windlass_core.processes`) listens on nothing: its parent gives it connections.

    Args:
        app: the application. What it has of the short way (`state.direct`) and of other processes (`state.crew`) is used.
        port: to listen on, all addresses, IPv4 and IPv6.
        host: another address to listen on.
        drain_delay: seconds between SIGTERM and the moment when no new connection is accepted.
        drain: seconds that requests in flight get after it.
        on_drain: called once when SIGTERM has come, so that the application can say that it is not ready any more.
        until: asked ten times a second; serving ends without a delay when it says True, for an application that cannot go on.

    Raises:
        Unavailable: the port is taken.
        SystemExit: the application's lifespan failed to start.
    """
    server = _Server(app, drain_delay=drain_delay, drain=drain, on_drain=on_drain, until=until)
    if isinstance(server.crew, WorkerCrew):
        server.run(sockets=[])
        return
    with listen(host, port) as listener:
        _log.info("listening", extra={"port": listener.getsockname()[1]})
        server.run(sockets=[listener])


class BackgroundServer:
    """Serves an application in a thread while the `with` block runs.

    Raises:
        Unavailable: the port is taken, or the application did not start.
    """

    def __init__(self, app: ASGIApp, port: int = RUN_PORT, *, host: str = ALL_INTERFACES) -> None:
        self._server = _Server(app, drain_delay=0, drain=BACKGROUND_DRAIN_SECONDS)
        self._address = (host, port)
        self.port = port

    def __enter__(self) -> Self:
        self._listener = listen(*self._address)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="background-server", daemon=True)
        self._thread.start()
        self._server.settled.wait(START_SECONDS)
        if not self._server.started:
            raise Unavailable("the HTTP server of this run did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join(BACKGROUND_DRAIN_SECONDS * 5)

    def _run(self) -> None:
        try:
            # uvicorn ends a process whose application does not start; here that is told by `__enter__`.
            with self._listener, suppress(SystemExit):
                self._server.run(sockets=[self._listener])
        finally:
            self._server.settled.set()


class _Server(uvicorn.Server):
    """uvicorn with a delay between SIGTERM and the end of accepting."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        drain_delay: float,
        drain: int,
        on_drain: Callable[[], None] = lambda: None,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        state = getattr(app, "state", None)
        self.crew: Crew = getattr(state, "crew", None) or Crew()
        self._direct: Direct | None = getattr(state, "direct", None)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=cast(Any, self._protocol),  # uvicorn calls it, whatever it is
            ws="none",
            proxy_headers=False,  # nothing here asks for the scheme or the address of a client
            log_config=None,  # its loggers pass on to the root, which log.py has configured
            access_log=False,  # RequestMiddleware logs with the request id
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=drain,
        )
        super().__init__(config)
        self._relief = Relief(self.crew, lambda: self.server_state.total_requests)
        self._drain_delay = drain_delay
        self._on_drain = on_drain
        self._until = until
        self._leave_at: float | None = None
        self._look_at = 0.0
        self._connecting: set[asyncio.Task[None]] = set()
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if isinstance(self.crew, WorkerCrew):
            await self.crew.begin(self._connected, self._relief.give)
        self.settled.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM or self._leave_at is not None:
            super().handle_exit(sig, frame)
            return
        _log.info("draining", extra={"delay": self._drain_delay})
        self._on_drain()
        self._leave_at = time.monotonic() + self._drain_delay
        self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        """Have every answer from now on say that it is the last on its connection."""
        # uvicorn adds these to every response and rebuilds its own list from the first once a second.
        self.config.headers.append(_CLOSE)
        self.config.encoded_headers.append((_CLOSE[0].encode(), _CLOSE[1].encode()))
        self.server_state.default_headers = [*self.server_state.default_headers, self.config.encoded_headers[-1]]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._leave_at is None:
            self._ask_to_leave()
        else:
            for listener in (*self.servers, *(sockets or ())):
                listener.close()
            if isinstance(self.crew, WorkerCrew):
                await self.crew.took_all()
            linger_until = time.monotonic() + LINGER_SECONDS
            while self.server_state.connections and time.monotonic() < linger_until:  # noqa: ASYNC110  (as uvicorn itself)
                await asyncio.sleep(LINGER_SECONDS / 50)
        if isinstance(self.crew, WorkerCrew):
            self.crew.end()
        if self._connecting:
            await asyncio.wait(self._connecting)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._until() or (self._leave_at is not None and time.monotonic() >= self._leave_at):
            self.should_exit = True
        if isinstance(self.crew, WorkerCrew) and self.crew.orphaned:
            self.should_exit = True
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            end_slow(self.server_state.connections, now)
        return await super().on_tick(counter)

    def _protocol(self, **options: Any) -> DirectProtocol:
        return DirectProtocol(direct=self._direct, relief=self._relief, lost=self.crew.closed, **options)

    def _connected(self, connection: socket.socket) -> None:
        """A connection that the parent has accepted."""
        task = asyncio.get_running_loop().create_task(self._serve_connection(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _serve_connection(self, connection: socket.socket) -> None:
        protocol = partial(self._protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        except OSError:  # the client is gone already
            connection.close()
            self.crew.closed()


def settle_memory() -> None:
    """Take what is alive now out of the garbage collector's sight, and let it look less often.

    For a server that has just loaded what it serves: the collector walks all of it again and again, a twentieth of the CPU
    time of small requests, and finds nothing, because requests leave no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
