"""Asks run pods how far they are, apart from all other work: bounded in time, in number and in size.

The reconcile path never waits for a pod. It says which pod to ask, and reads the newest answer that came.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from pydantic import ValidationError

from windlass_core.contracts import RUN_PORT, Progress
from windlass_operator import metrics
from windlass_operator.api import Key

# An object's progress is written at most this often, because it is asked for no oftener: seconds.
EVERY_SECONDS = 3.0
# A pod that does not answer is asked less and less often, down to this: seconds.
SLOWEST_SECONDS = 60.0
# One question: seconds. A pod that trains on all cores may take a while.
TIMEOUT_SECONDS = 2.0
# Questions at the same time.
MAX_CONCURRENT = 16
# An answer is a few hundred bytes; more is no answer.
MAX_ANSWER_BYTES = 64 * 1024
# How often the list of pods is looked through: seconds.
TICK_SECONDS = 0.5

_log = logging.getLogger(__name__)


class ProgressSource(Protocol):
    """Where the reconcile path gets progress from."""

    def follow(self, key: Key, address: str) -> None:
        """Ask the pod at this address from now on."""
        ...

    def forget(self, key: Key) -> None:
        """Ask no pod for this key any more."""
        ...

    def latest(self, key: Key) -> Progress | None:
        """The newest answer, None before the first."""
        ...


@dataclass
class _Target:
    address: str
    due: float
    failures: int = 0
    answer: Progress | None = None


class ProgressScraper:
    """Implements `ProgressSource` over HTTP.

    Args:
        changed: called with the key when its pod gave a new answer.
    """

    def __init__(self, changed: Callable[[Key], None]) -> None:
        self._changed = changed
        self._targets: dict[Key, _Target] = {}

    def follow(self, key: Key, address: str) -> None:
        """See `ProgressSource`."""
        target = self._targets.get(key)
        if target is None or target.address != address:
            self._targets[key] = _Target(address, due=asyncio.get_running_loop().time())

    def forget(self, key: Key) -> None:
        """See `ProgressSource`."""
        self._targets.pop(key, None)

    def latest(self, key: Key) -> Progress | None:
        """See `ProgressSource`."""
        target = self._targets.get(key)
        return target.answer if target else None

    async def run(self) -> None:
        """Ask until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=MAX_CONCURRENT, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                await self.ask_due(session)
                await asyncio.sleep(TICK_SECONDS)

    async def ask_due(self, session: aiohttp.ClientSession) -> None:
        """Ask every pod whose turn it is, once."""
        now = asyncio.get_running_loop().time()
        due = [(key, target) for key, target in self._targets.items() if target.due <= now]
        for start in range(0, len(due), MAX_CONCURRENT):
            await asyncio.gather(*(self._ask(session, key, target) for key, target in due[start : start + MAX_CONCURRENT]))

    async def _ask(self, session: aiohttp.ClientSession, key: Key, target: _Target) -> None:
        answer = await _fetch(session, target.address)
        target.failures = 0 if answer else target.failures + 1
        rest = min(SLOWEST_SECONDS, EVERY_SECONDS * 2.0 ** min(max(target.failures - 1, 0), 10))
        target.due = asyncio.get_running_loop().time() + rest
        if answer is None or self._targets.get(key) is not target:
            return
        news = target.answer is None or _without_time(answer) != _without_time(target.answer)
        target.answer = answer
        if news:
            self._changed(key)


async def _fetch(session: aiohttp.ClientSession, address: str) -> Progress | None:
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.get(f"http://{host}:{RUN_PORT}/progress", allow_redirects=False) as response:
            response.raise_for_status()
            data = await _bounded(response.content)
        answer = _finite(Progress.model_validate_json(data))
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError) as error:
        metrics.SCRAPES.labels("failed").inc()
        _log.debug("no progress", extra={"address": address, "error": f"{type(error).__name__} {error}"})
        return None
    metrics.SCRAPES.labels("answered").inc()
    return answer


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """All of a body, however many pieces it comes in; of one that is too long only so much that it is no answer."""
    data = bytearray()
    async for piece in content.iter_any():
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            break
    return bytes(data[:MAX_ANSWER_BYTES])


def _finite(answer: Progress) -> Progress:
    """Figures that are no numbers, such as the rate before the first update, are left out."""
    figures = {"samples_per_second": answer.samples_per_second, "eta_seconds": answer.eta_seconds}
    return answer.model_copy(
        update={name: None for name, value in figures.items() if value is not None and not math.isfinite(value)}
    )


def _without_time(answer: Progress) -> Progress:
    return answer.model_copy(update={"at": None})
