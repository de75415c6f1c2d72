"""GET /healthz, /readyz and /metrics of the operator itself. Knows the parts whose health it tells, and no more."""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from windlass_operator import metrics
from windlass_operator.api import Key
from windlass_operator.queue import WorkQueue
from windlass_operator.resync import Resync
from windlass_operator.streams import Streams

# Every request of a round has a timeout; a round of a few requests that takes longer hangs: seconds.
LONGEST_ROUND_SECONDS = 300.0
# A queue that moves empties a few thousand keys within this: seconds.
LONGEST_WAIT_SECONDS = 900.0
# kopf gives up a request after a minute of tries; a stream that takes longer to open was never asked for: seconds.
LONGEST_OPENING_SECONDS = 120.0


class Health:
    """What the probes ask."""

    def __init__(self, queue: WorkQueue[Key], resync: Resync, streams: Streams) -> None:
        self._queue = queue
        self._resync = resync
        self._streams = streams

    def fault(self) -> str | None:
        """Why the operator should be restarted, or None. A cluster that does not answer is no reason."""
        if self._resync.stale:
            kinds = ", ".join(sorted(kind.plural for kind in self._resync.stale))
            return f"the watch streams of {kinds} are silent"
        if (seconds := self._streams.overdue()) > LONGEST_OPENING_SECONDS:
            return f"the watch streams of {', '.join(self._streams.missing())} have not opened in {seconds:.0f} s"
        if (seconds := self._queue.longest_run()) > LONGEST_ROUND_SECONDS:
            return f"one key has been worked on for {seconds:.0f} s"
        if (seconds := self._queue.oldest_wait()) > LONGEST_WAIT_SECONDS:
            return f"the queue does not move: a key has waited for {seconds:.0f} s"
        return None

    async def healthz(self, _: web.Request) -> web.Response:
        """200, or 503 with the fault."""
        fault = self.fault()
        return web.json_response({"status": fault or "ok"}, status=503 if fault else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        """200 once everything is watched: all that there is has been listed. Until then 503 with what is missing."""
        missing = self._streams.missing()
        status = f"waiting for the watch streams of {', '.join(missing)}" if missing else "ok"
        return web.json_response({"status": status}, status=503 if missing else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """All figures in Prometheus' text format."""
        metrics.QUEUE_DEPTH.set(self._queue.depth)
        metrics.QUEUE_RETRYING.set(self._queue.retrying)
        metrics.QUEUE_OLDEST_SECONDS.set(self._queue.oldest_wait())
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def serve(self, port: int) -> None:
        """Answer on all addresses until cancelled.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.add_routes([web.get("/healthz", self.healthz), web.get("/readyz", self.readyz), web.get("/metrics", self.metrics)])
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "", port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
