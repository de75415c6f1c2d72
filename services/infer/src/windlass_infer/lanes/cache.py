"""Answers given again to questions that are asked again, and one run for equal questions at the same time.

Each version has a cache of its own, and a version never changes, so an answer is never out of date. The key is the SHA-256 of
the inputs: the fastest hash of hashlib on CPUs that have instructions for it, twice BLAKE2b. A faster one that is no
cryptographic hash would let a caller choose inputs that collide, and so give others wrong answers.

Kept answers are bounded in bytes, the one used longest ago goes first. Where hardly a question is asked twice, looking up costs
more than it saves: then nothing is looked up for a while. Used on the event loop. Knows no protocol.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from windlass_core.errors import Unavailable
from windlass_infer.engine import Array, Arrays
from windlass_infer.errors import DeadlineExceeded, Overloaded
from windlass_infer.lanes.computing import Done, Outcome
from windlass_infer.lanes.lane import Lane, Ticket
from windlass_infer.lanes.terms import WHENEVER, Terms
from windlass_infer.metrics import Duration, Measurements
from windlass_infer.scheduling.queue import Priority

# Hits are counted over so many lookups; with a share below the least, nothing is looked up for REST_SECONDS. A lookup takes
# about a fiftieth of what a request to the smallest model takes on the whole.
TRIAL_LOOKUPS = 1000
LEAST_HITS = 0.02
REST_SECONDS = 60.0
# An answer that would push out a tenth of all others is not kept.
LARGEST_SHARE = 0.1
# Beside its numbers: the key, the arrays' own objects and the places in two tables.
ENTRY_BYTES = 600

HIT, SHARED, MISS = "hit", "shared", "miss"


def key_of(inputs: Arrays) -> bytes:
    """The digest of named arrays: of their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        values = inputs[name]
        digest.update(f"{name}\0{values.dtype.str}{values.shape}\0".encode())
        if values.dtype == object:
            for element in values.ravel():
                data = element if isinstance(element, bytes) else str(element).encode()
                digest.update(len(data).to_bytes(8, "little") + data)
        else:
            digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


class Answers:
    """Answers by key, at most so many bytes; and whether it is worth looking.

    Args:
        max_bytes: what all answers may take.
    """

    def __init__(self, max_bytes: int) -> None:
        self.kept_bytes = 0
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Arrays] = OrderedDict()
        self._lookups = self._hits = 0
        self._rests_until = 0.0

    def worthwhile(self, now: float) -> bool:
        """Whether to look up and keep answers now, in seconds of any steady clock."""
        return now >= self._rests_until

    def find(self, key: bytes) -> Arrays | None:
        """The answer, if it is kept."""
        answer = self._kept.get(key)
        if answer is not None:
            self._kept.move_to_end(key)
        return answer

    def counted(self, *, hit: bool, now: float) -> None:
        """Count a lookup; when hits are too rare, rest, and forget what is kept."""
        self._lookups += 1
        self._hits += hit
        if self._lookups < TRIAL_LOOKUPS:
            return
        if self._hits < LEAST_HITS * self._lookups:
            self._rests_until = now + REST_SECONDS
            self._kept.clear()
            self.kept_bytes = 0
        self._lookups = self._hits = 0

    def keep(self, key: bytes, answer: Arrays) -> None:
        """Keep an answer; those used longest ago make place."""
        size = ENTRY_BYTES + sum(_bytes(values) for values in answer.values())
        if size > LARGEST_SHARE * self._max_bytes or key in self._kept:
            return
        # A copy, because rows of one request are a part of the batch's memory, which they would keep alive.
        self._kept[key] = {name: values.copy() for name, values in answer.items()}
        self.kept_bytes += size
        while self.kept_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= ENTRY_BYTES + sum(_bytes(values) for values in oldest.values())


@dataclass(slots=True, eq=False)
class _Waiter:
    """One caller of a flight, with what is needed to ask for him alone."""

    done: Done
    gone: Callable[[], bool] | None
    alone: Callable[[], Ticket]
    ticket: Ticket | None = None
    cancelled: bool = False

    @property
    def unwanted(self) -> bool:
        """Whether he waits no more."""
        return self.cancelled or (self.gone is not None and self.gone())


@dataclass(slots=True)
class _Flight:
    """One run for all who asked the same meanwhile; the first of them leads."""

    key: bytes
    priority: Priority
    waiters: list[_Waiter] = field(default_factory=list)
    ticket: Ticket | None = None

    def unwanted(self) -> bool:
        """Whether nobody waits for it."""
        return all(waiter.unwanted for waiter in self.waiters)


class SharedTicket(Ticket):
    """One caller's part of a flight."""

    __slots__ = ("_cached", "_flight", "_waiter")

    def __init__(self, cached: "CachedLane", flight: _Flight, waiter: _Waiter) -> None:
        self._cached = cached
        self._flight = flight
        self._waiter = waiter

    def cancel(self) -> None:
        """Wait no more; the run goes on while others do."""
        self._waiter.cancelled = True
        if self._waiter.ticket is not None:
            self._waiter.ticket.cancel()
        elif self._flight.unwanted():
            self._cached._abandon(self._flight)


class CachedLane:
    """A lane with kept answers in front."""

    def __init__(self, lane: Lane, max_bytes: int, measurements: Measurements, clock: Callable[[], float]) -> None:
        self._lane = lane
        self._measurements = measurements
        self._clock = clock
        self._answers = Answers(max_bytes)
        self._flights: dict[bytes, _Flight] = {}
        measurements.cache.update({result: Duration() for result in (HIT, SHARED, MISS)})

    @property
    def kept_bytes(self) -> int:
        """What the kept answers take."""
        return self._answers.kept_bytes

    def submit(
        self, inputs: Arrays, rows: int, done: Done, terms: Terms = WHENEVER, *, gone: Callable[[], bool] | None = None
    ) -> Ticket | None:
        """As `Lane.submit`; `done` is called before it returns, and there is no ticket, when the answer is kept."""

        def alone(done: Done = done, gone: Callable[[], bool] | None = gone) -> Ticket:
            return self._lane.submit(inputs, rows, done, terms, gone=gone)

        now = self._clock()
        if not self._answers.worthwhile(now):
            return alone()
        key = key_of(inputs)
        answer = self._answers.find(key)
        flight = self._flights.get(key)
        # Nobody joins a run that waits behind what he would go before.
        joins = answer is None and flight is not None and flight.priority <= terms.priority
        result = HIT if answer is not None else SHARED if joins else MISS
        self._measurements.cache[result].add(self._clock() - now)
        self._answers.counted(hit=answer is not None or joins, now=now)
        if answer is not None:
            done(answer)
            return None
        waiter = _Waiter(done, gone, alone)
        if flight is not None:
            if not joins:
                return alone()
            flight.waiters.append(waiter)
            return SharedTicket(self, flight, waiter)
        flight = _Flight(key, terms.priority, [waiter])
        flight.ticket = alone(lambda outcome: self._landed(flight, outcome), flight.unwanted)
        self._flights[key] = flight
        return SharedTicket(self, flight, waiter)

    def _abandon(self, flight: _Flight) -> None:
        """Let go a run for which nobody waits, unless it has landed."""
        if self._flights.get(flight.key) is flight and flight.ticket is not None:
            del self._flights[flight.key]
            flight.ticket.cancel()

    def _landed(self, flight: _Flight, outcome: Outcome) -> None:
        """Give the outcome to all who wait. What failed for the first one's own reasons is asked again for each other."""
        del self._flights[flight.key]
        again = isinstance(outcome, DeadlineExceeded | Overloaded | Unavailable)
        if not isinstance(outcome, Exception):
            self._answers.keep(flight.key, outcome)
        for waiter in flight.waiters:
            if waiter.cancelled:
                continue
            if again and waiter is not flight.waiters[0]:
                _ask_alone(waiter)
            else:
                waiter.done(outcome)


def _ask_alone(waiter: _Waiter) -> None:
    try:
        waiter.ticket = waiter.alone()
    except (Overloaded, Unavailable) as error:
        waiter.done(error)


def _bytes(values: Array) -> int:
    if values.dtype != object:
        return values.nbytes
    return values.nbytes + sum(len(element) for element in values.ravel() if isinstance(element, bytes | str))
