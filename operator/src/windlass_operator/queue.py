"""Keys that wait to be worked on: each at most once at a time, again after a failure, later when asked, and never lost.

The event that brought a key does not matter, only that the key should be looked at; so ten events in a burst are one or two
rounds of work. Knows no Kubernetes: a key is anything hashable.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """How long a key rests after it failed `failures` times in a row: exponential, between bounds, with jitter.

    Attributes:
        first: seconds after the first failure; most are a write that somebody else beat, over at once.
        largest: seconds at the most; a cluster that is back is noticed within it.
        jitter: largest share by which a rest is shortened, so that keys that failed together do not return together.
    """

    first: float = 0.02
    largest: float = 120.0
    jitter: float = 0.3

    def seconds(self, failures: int, chance: float) -> float:
        """Seconds to rest; `chance` is a number from 0 to 1."""
        full = min(self.largest, self.first * 2.0 ** min(failures - 1, 32))
        return full * (1 - self.jitter * chance)


class RetryLater(Exception):
    """Raised by work that failed in a way it has already told about; the key comes again.

    Args:
        after: seconds to wait at least, as far as the largest backoff; None leaves it to the backoff.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class WorkQueue(Generic[KeyT]):
    """A queue of keys and the workers that empty it.

    Args:
        work: called with a key; returns the seconds after which to call it again, or None.
        workers: keys worked on at the same time.
        chance: a random number from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        work: Callable[[KeyT], Awaitable[float | None]],
        *,
        workers: int,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._work = work
        self._workers = workers
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._ready: asyncio.Queue[KeyT] = asyncio.Queue()
        self._waiting_since: dict[KeyT, float] = {}
        self._running_since: dict[KeyT, float] = {}
        self._again: set[KeyT] = set()
        self._failures: dict[KeyT, int] = {}
        self._timers: dict[KeyT, asyncio.TimerHandle] = {}

    def add(self, key: KeyT) -> None:
        """Have the key worked on soon. One that waits already stays; one that is worked on comes once more after."""
        if key in self._waiting_since:
            return
        if key in self._running_since:
            self._again.add(key)
            return
        self._enqueue(key)

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Have the key worked on after that many seconds; of several such wishes the earliest counts."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, seconds)
        old = self._timers.get(key)
        if old is not None and old.when() <= when:
            return
        self._drop_timer(key)
        self._timers[key] = loop.call_at(when, self._due, key)

    def forget(self, key: KeyT) -> None:
        """Drop what is known of a key that exists no more; work that waits or runs is not stopped."""
        self._failures.pop(key, None)
        self._drop_timer(key)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._run_worker(), name=f"worker {number}")

    @property
    def depth(self) -> int:
        """Keys that wait."""
        return self._ready.qsize()

    @property
    def retrying(self) -> int:
        """Keys that failed when they were last worked on."""
        return len(self._failures)

    def oldest_wait(self) -> float:
        """Seconds that the key in front has waited."""
        return self._age(self._waiting_since)

    def longest_run(self) -> float:
        """Seconds that the slowest work of now has taken."""
        return self._age(self._running_since)

    async def _run_worker(self) -> None:
        while True:
            key = await self._ready.get()
            del self._waiting_since[key]
            await self._run_once(key)

    async def _run_once(self, key: KeyT) -> None:
        self._running_since[key] = asyncio.get_running_loop().time()
        self._drop_timer(key)
        try:
            again_after = await self._work(key)
        except RetryLater as error:
            self._retry(key, error.after, str(error))
        except Exception:  # noqa: BLE001  (one key's fault must not end the work on all others)
            _log.exception("work on %s failed unexpectedly", key)
            self._retry(key, None, "unexpected error")
        else:
            self._failures.pop(key, None)
            if again_after is not None:
                self.add_after(key, again_after)
        finally:
            del self._running_since[key]
        if key in self._again:
            self._again.discard(key)
            self._enqueue(key)

    def _retry(self, key: KeyT, after: float | None, why: str) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        asked = min(after or 0.0, self._backoff.largest)
        seconds = max(asked, self._backoff.seconds(failures, self._chance()))
        _log.info("%s comes again in %.2f s, after failure %d: %s", key, seconds, failures, why)
        self.add_after(key, seconds)

    def _due(self, key: KeyT) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _drop_timer(self, key: KeyT) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def _enqueue(self, key: KeyT) -> None:
        self._waiting_since[key] = asyncio.get_running_loop().time()
        self._ready.put_nowait(key)

    @staticmethod
    def _age(since: dict[KeyT, float]) -> float:
        return asyncio.get_running_loop().time() - min(since.values()) if since else 0.0
