"""Which watch streams have opened, read off the requests that kopf sends, because kopf tells nobody.

kopf lists a kind, passes on all that there is, and only then watches it; so a watch that the API server has begun to answer
means that the first listing is here. Knows paths and answers, and nothing of what the streams bring.
"""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace

import aiohttp

from windlass_operator.api import Kind


class Streams:
    """The watch streams that there should be, one for each kind and namespace.

    Args:
        namespaces: where to watch; none means one stream for all of them.
    """

    def __init__(self, kinds: Iterable[Kind], namespaces: tuple[str, ...]) -> None:
        self._closed = {kind.path(namespace): kind for kind in kinds for namespace in namespaces or (None,)}
        self._begun_at: float | None = None

    def begin(self) -> None:
        """From now on the streams are expected to open."""
        self._begun_at = asyncio.get_running_loop().time()

    def missing(self) -> list[str]:
        """Plurals of the kinds of which a stream has never been open, sorted."""
        return sorted({kind.plural for kind in self._closed.values()})

    def overdue(self) -> float:
        """Seconds that a stream has been expected to open; 0 when all have, or none is expected yet."""
        if self._begun_at is None or not self._closed:
            return 0.0
        return asyncio.get_running_loop().time() - self._begun_at

    def trace(self) -> aiohttp.TraceConfig:
        """What makes a session tell of its requests."""
        made = aiohttp.TraceConfig()
        made.on_request_end.append(self._answered)
        return made

    async def _answered(self, _: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams) -> None:
        if request.response.status != 200 or request.url.query.get("watch") != "true":
            return
        # Before the path may stand that of a proxy in front of the API server.
        for path in [path for path in self._closed if request.url.path.endswith(path)]:
            del self._closed[path]
