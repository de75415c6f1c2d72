"""The batch that holds all that waits is found at once, and is the one that a look at each request would have made."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.queue import LaneQueue, Priority, Taken, Work

MOST_ROWS = 16


class Careful(LaneQueue[int]):
    """Looks at each request."""

    def _all_in_time(self, _now: float) -> bool:
        return False


@dataclass(frozen=True)
class Asked:
    rows: int
    arrived: float
    time: float
    priority: Priority
    probe: bool


asked = st.builds(
    Asked,
    rows=st.integers(1, 2 * MOST_ROWS),
    arrived=st.floats(0, 1),
    time=st.sampled_from([0.0, 0.01, 0.05, 1.0, math.inf]),
    priority=st.sampled_from(Priority),
    probe=st.booleans(),
)


def filled(queue: LaneQueue[int], requests: list[Asked]) -> LaneQueue[int]:
    for number, one in enumerate(requests):
        deadline = one.arrived + one.time
        queue.add(Work(number, one.rows, one.arrived, deadline, one.priority, probe=one.probe))
    return queue


def told(taken: Taken[int]) -> object:
    pieces = [(piece.work.item, piece.start, piece.rows, piece.work.taken, piece.work.queued) for piece in taken.pieces]
    return pieces, [work.item for work in taken.late], taken.rows


# Batch work is due long after its deadline.
LATE_BATCH_WORK = Asked(1, 0.0, 0.0, Priority.BATCH, probe=False)
IN_TIME = Asked(1, 0.0, 0.01, Priority.INTERACTIVE, probe=False)


@example([LATE_BATCH_WORK, IN_TIME], 0.0, 1e-6)
@given(st.lists(asked, max_size=12), st.floats(0, 3), st.sampled_from([1e-6, 1e-3, 0.1]))
def test_what_is_taken_is_what_a_look_at_each_would_take(requests: list[Asked], now: float, seconds_per_row: float) -> None:
    quick = filled(LaneQueue(CostModel(seconds_per_row, 1e-4), MOST_ROWS), requests)
    careful = filled(Careful(CostModel(seconds_per_row, 1e-4), MOST_ROWS), requests)
    while len(careful):
        assert told(quick.take(now)) == told(careful.take(now))
        assert (len(quick), quick.rows) == (len(careful), careful.rows)
        now += 0.01


@pytest.mark.parametrize("rows", [[1], [1, 2, 3], [MOST_ROWS]])
def test_all_that_has_time_and_fits_is_taken_at_once(rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    queue = filled(
        LaneQueue(CostModel(1e-6, 1e-6), MOST_ROWS), [Asked(each, 0.0, 1.0, Priority.INTERACTIVE, probe=False) for each in rows]
    )
    monkeypatch.delattr(LaneQueue, "_rows_in_time")  # what a look at each would ask
    assert queue.take(0.1).rows == sum(rows)
    assert not queue
