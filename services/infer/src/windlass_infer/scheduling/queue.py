"""The requests that wait in one lane, in the order in which they are due, and the next batch of them.

A request is due at its deadline, or when its patience ends, whichever is first: so requests with little time go first, and
those with none, and batch work, still get their turn. A request of more rows than a batch has goes in pieces; each is due a
little later than the one before, so that what arrives meanwhile goes between them.

    take    the next batch: as many rows as wait, at most a full batch, and no more than lets its most urgent request be in time

Knows no clock (the caller gives `now`), no lanes beside it and no engine.
"""

import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from windlass_infer.scheduling.costs import CostModel

Item = TypeVar("Item")


class Priority(IntEnum):
    """Who waits for the answer. The number is that of the protocol's parameter `priority`, where 0 means the default."""

    INTERACTIVE = 1
    BATCH = 2

    @classmethod
    def of(cls, number: int) -> "Priority":
        """The class of a protocol's number: 0 and 1 are interactive, all beyond is batch work."""
        return cls.BATCH if number >= cls.BATCH else cls.INTERACTIVE


# Kept, because to ask an enumeration for a member takes a tenth to a third of a microsecond, for each request.
INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH

# Beyond this the fixed cost of a run is spread thin (a fifteenth of a batch of a tiny network on ONNX Runtime), and more rows
# would only make the first caller of a batch wait for the last.
MAX_BATCH_ROWS = 128
# Seconds after which a request is due whatever its deadline. A person gives up on a page after a second or two; batch work is
# asked for by programs whose own time-outs are a minute and more.
PATIENCE_SECONDS = {Priority.INTERACTIVE: 1.0, Priority.BATCH: 30.0}
# A batch of nothing but batch work lasts no longer, unless one row does: so long an interactive request waits behind it.
BATCH_WORK_SECONDS = 0.02
# A head that would hold the batch below this share of the rate that the engine could have is put aside: serving it would cost
# several behind it their deadlines. Once for each request, and a share of each batch, so that nobody is put aside for ever.
WORTHWHILE_RATE = 0.8
PUT_ASIDE_SHARE = 0.25


@dataclass(slots=True, eq=False)
class Work(Generic[Item]):
    """One request in a lane. Times are seconds on the caller's clock.

    Args:
        item: what the caller wants back with the rows.
        rows: at least one.
        arrived: when it was queued.
        deadline: when its answer is of no use any more; infinite when there is none.
        priority: interactive or batch work.
        probe: run it even if it will be late: the engine was idle, and its run tells what runs take now.
    """

    item: Item
    rows: int
    arrived: float
    deadline: float = math.inf
    priority: Priority = Priority.INTERACTIVE
    probe: bool = False
    taken: int = 0  # rows that batches have taken already
    put_aside: bool = False
    queued: bool = False

    @property
    def left(self) -> int:
        """Rows that no batch has taken."""
        return self.rows - self.taken


class Piece(NamedTuple, Generic[Item]):
    """Rows `start` to `start + rows` of a request, in a batch."""

    work: Work[Item]
    start: int
    rows: int

    @property
    def last(self) -> bool:
        """Whether the request is complete with it."""
        return self.start + self.rows == self.work.rows


@dataclass(slots=True)
class Taken(Generic[Item]):
    """What `take` gives: the pieces of the next batch, none when nothing waits, and requests that can no longer be in time.

    `unwanted` are requests for whom nobody waits any more; who runs the batch moves them there.
    """

    pieces: list[Piece[Item]] = field(default_factory=list)
    late: list[Work[Item]] = field(default_factory=list)
    unwanted: list[Work[Item]] = field(default_factory=list)
    rows: int = 0


class LaneQueue(Generic[Item]):
    """What waits in one lane."""

    def __init__(self, costs: CostModel, max_batch_rows: int) -> None:
        self.costs = costs
        self.max_batch_rows = max_batch_rows
        self.rows = 0
        self._most_aside = math.ceil(PUT_ASIDE_SHARE * max_batch_rows)
        self._entries: list[tuple[float, int, Work[Item]]] = []  # due, number, work; the first due first
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Work[Item]]:
        return (work for _, _, work in self._entries)

    @property
    def seconds(self) -> float:
        """What all that waits will take."""
        return self.costs.seconds_in_batches(self.rows, self.max_batch_rows)

    def due(self, work: Work[Item]) -> float:
        """When the next piece of a request should be computed, in seconds on the caller's clock."""
        patience = work.arrived + PATIENCE_SECONDS[work.priority]
        whole = patience if work.priority is BATCH else min(work.deadline, patience)
        # Its pieces come at half of the engine's pace, as if somebody sent them one after another.
        return whole + 2 * self.costs.expected(self.max_batch_rows) * (work.taken / self.max_batch_rows)

    def add(self, work: Work[Item]) -> None:
        """Queue a request."""
        work.queued = True
        self.rows += work.left
        self._insert(work)

    def discard(self, work: Work[Item]) -> bool:
        """Take a request out; whether it was there."""
        if not work.queued:
            return False
        index = next(index for index, entry in enumerate(self._entries) if entry[2] is work)
        self._remove(index)
        return True

    def rows_before(self, due: float) -> int:
        """Rows of what is due before `due`."""
        later = 0
        for entry_due, _, work in reversed(self._entries):
            if entry_due <= due:
                break
            later += work.left
        return self.rows - later

    def rows_arrived(self, after: float, until: float) -> int:
        """Rows that wait of requests that came within this time."""
        return sum(work.left for work in self if after < work.arrived <= until)

    @property
    def first_deadline(self) -> float:
        """The earliest of all deadlines that wait, which need not be that of the head; infinite when nothing waits."""
        return min((work.deadline for work in self), default=math.inf)

    def interactive(self, now: float) -> bool:
        """Whether somebody waits for the head: it is interactive, or its patience is over."""
        return bool(self._entries) and (self._entries[0][2].priority is INTERACTIVE or self._entries[0][0] <= now)

    def take(self, now: float) -> Taken[Item]:
        """The next batch, and those that it is too late for, taken out of the queue."""
        if self._all_in_time(now):
            return self._take_all()
        taken: Taken[Item] = Taken()
        aside: list[Work[Item]] = []
        bound = self.max_batch_rows
        while self._entries and taken.rows < bound:
            work = self._entries[0][2]
            if self._is_late(work, now):
                taken.late.append(self._remove(0))
                continue
            fitting = self._rows_in_time(work, now)
            if not taken.pieces and self._not_worthwhile(work, fitting) and len(aside) < self._most_aside:
                work.put_aside = True
                aside.append(self._remove(0))
                continue
            bound = min(bound, self._bound(fitting, first=not taken.pieces, now=now))
            rows = self._piece_rows(work, bound - taken.rows, first=not taken.pieces)
            if rows == 0:
                break
            self._take_piece(work, rows, taken)
        for work in aside:
            self.add(work)
        return taken

    def _all_in_time(self, now: float) -> bool:
        """Whether one batch holds all that waits, nothing of it cut, and ends before every deadline; so it is nearly always."""
        if self.rows > self.max_batch_rows or not self.interactive(now):
            return False
        end = now + self.costs.seconds(self.rows)
        return all(work.deadline >= end and not work.taken for _, _, work in self._entries)

    def _take_all(self) -> Taken[Item]:
        taken = Taken([Piece(work, 0, work.rows) for work in self], rows=self.rows)
        for work in self:
            work.taken, work.queued = work.rows, False
        self._entries.clear()
        self.rows = 0
        return taken

    def _take_piece(self, work: Work[Item], rows: int, taken: Taken[Item]) -> None:
        self._remove(0)
        taken.pieces.append(Piece(work, work.taken, rows))
        taken.rows += rows
        work.taken += rows
        if work.left:
            self.add(work)

    def _is_late(self, work: Work[Item], now: float) -> bool:
        if work.deadline == math.inf:
            return False
        needed = 0.0 if work.probe else self.costs.seconds_in_batches(work.left, self.max_batch_rows)
        return now + needed > work.deadline

    def _rows_in_time(self, work: Work[Item], now: float) -> int:
        """Rows that the batch with the next piece of a request may have, for the request to be in time. At least one."""
        if work.deadline == math.inf or work.probe:
            return self.max_batch_rows
        afterwards = self.costs.seconds_in_batches(max(work.left - self.max_batch_rows, 0), self.max_batch_rows)
        return max(min(self.costs.rows_within(work.deadline - now - afterwards), self.max_batch_rows), 1)

    def _not_worthwhile(self, work: Work[Item], fitting: int) -> bool:
        """Whether the head would make a slow batch while more than a full one waits."""
        possible = min(self.rows - work.left, self.max_batch_rows)
        if work.put_aside or fitting >= possible or possible < self.max_batch_rows:
            return False
        return self.costs.rate(fitting) < WORTHWHILE_RATE * self.costs.rate(possible)

    def _bound(self, fitting: int, *, first: bool, now: float) -> int:
        if first and not self.interactive(now):
            return min(fitting, max(self.costs.rows_within(BATCH_WORK_SECONDS), 1))
        return fitting

    def _piece_rows(self, work: Work[Item], room: int, *, first: bool) -> int:
        """How many rows of a request go into what is left of a batch; 0 when it is better off in the next.

        Only what no batch can hold is cut, or what nothing else may stand beside: a request in two batches is as late as its
        second, and the first is larger by it for the others.
        """
        if work.left <= room:
            return work.left
        if work.left > self.max_batch_rows:
            # Beside others it takes no more than half.
            return room if len(self._entries) == 1 else min(room, max(self.max_batch_rows // 2, 1))
        return room if first else 0

    def _insert(self, work: Work[Item]) -> None:
        self._number += 1
        entry = (self.due(work), self._number, work)
        if self._entries and entry[0] < self._entries[-1][0]:
            insort(self._entries, entry)
        else:
            self._entries.append(entry)

    def _remove(self, index: int) -> Work[Item]:
        work = self._entries.pop(index)[2]
        self.rows -= work.left
        work.queued = False
        return work
