"""When a batch is held for those who were just answered, and for how long."""

import math
from collections.abc import Callable

import pytest

from windlass_infer.scheduling.costs import CostModel
from windlass_infer.scheduling.holding import LAST_TRIAL, STRETCH, Holding
from windlass_infer.scheduling.queue import Priority, Taken, Work
from windlass_infer.scheduling.scheduler import HELD_SHARE, Scheduler, SchedulerLane

AT_ONCE, AT_TIMES_OF_THEIR_OWN = 1.0, 0.25


def ways(holding: Holding, batches: int, *, held: float, at_once: float, back: float = AT_ONCE) -> list[bool]:
    """The way of each of so many batches of 8 rows, which take so many seconds."""
    gone: list[bool] = []
    for _ in range(batches):
        gone.append(holding.holds)
        holding.came_back(back)
        holding.observe(8, held if gone[-1] else at_once)
    return gone


def test_the_first_stretch_is_not_held_and_the_second_is_tried() -> None:
    gone = ways(Holding(), 2 * STRETCH, held=1.0, at_once=1.0)
    assert gone == [False] * STRETCH + [True] * STRETCH


@pytest.mark.parametrize(
    ("held", "at_once", "share"),
    [(0.8, 1.0, (0.8, 1.0)), (1.2, 1.0, (0.01, 0.15)), (1.0, 1.0, (0.01, 0.15))],
    ids=["cheaper by a fifth", "dearer", "alike"],
)
def test_batches_are_held_where_that_is_cheaper(held: float, at_once: float, share: tuple[float, float]) -> None:
    gone = ways(Holding(), 1000, held=held, at_once=at_once)
    assert share[0] <= sum(gone) / len(gone) <= share[1]


def test_callers_who_come_at_times_of_their_own_are_never_waited_for() -> None:
    assert not any(ways(Holding(), 1000, held=0.5, at_once=1.0, back=AT_TIMES_OF_THEIR_OWN))


def test_when_callers_no_longer_come_back_two_more_batches_are_held_for_them() -> None:
    holding = Holding()
    ways(holding, 2 * STRETCH + 1, held=0.8, at_once=1.0)
    gone = ways(holding, 50, held=0.8, at_once=1.0, back=0.0)
    assert gone == [True] * 2 + [False] * 48


def test_one_batch_for_which_nobody_comes_changes_nothing() -> None:
    holding = Holding()
    ways(holding, 2 * STRETCH + 1, held=0.8, at_once=1.0)
    assert holding.holds
    ways(holding, 1, held=1.2, at_once=1.0, back=0.0)
    assert holding.holds


@pytest.mark.parametrize(("before", "after"), [((0.8, 1.0), (1.3, 1.0)), ((1.3, 1.0), (0.8, 1.0))], ids=["ends", "begins"])
def test_a_change_is_found_by_trials_that_never_become_rare(before: tuple[float, float], after: tuple[float, float]) -> None:
    holding = Holding()
    ways(holding, 2000, held=before[0], at_once=before[1])
    ways(holding, 4 * (LAST_TRIAL + STRETCH), held=after[0], at_once=after[1])
    gone = ways(holding, 200, held=after[0], at_once=after[1])
    assert (sum(gone) > 150) == (after[0] < after[1])
    assert len(set(gone)) == 2


class Bench:
    """A scheduler with two lanes whose batches take 10 ms and 1 ms a row, at the end of a batch of the first."""

    def __init__(self) -> None:
        self.scheduler: Scheduler[str] = Scheduler()
        self.lane, self.other = (SchedulerLane[str](CostModel(0.001, 0.010), 16) for _ in range(2))
        for lane in (self.lane, self.other):
            lane.costs.margin = 1.0
            self.scheduler.add(lane)
        self.lane.holding.holds = True
        self.now = 100.0

    def ask(self, rows: int = 1, *, lane: SchedulerLane[str] | None = None, deadline: float = math.inf) -> None:
        self.scheduler.queue(lane or self.lane, Work("", rows, self.now, deadline, Priority.INTERACTIVE))

    def run(self) -> Taken[str]:
        turn = self.scheduler.next(self.now)
        assert turn is not None
        return turn.taken

    def end(self, taken: Taken[str]) -> None:
        self.now += 0.010 + 0.001 * taken.rows
        self.scheduler.finished()
        self.scheduler.hold(self.lane, taken, self.now)

    def answer(self, *, waiting: int = 4, rows: int = 4) -> None:
        """So many rows wait, and so many were just answered."""
        for _ in range(rows):
            self.ask()
        taken = self.run()
        for _ in range(waiting):
            self.ask()
        self.end(taken)

    @property
    def held(self) -> float:
        return max(self.scheduler.held_until(self.now) - self.now, 0.0)


WHOLE = HELD_SHARE * 0.018  # of a batch of 8 rows


@pytest.mark.parametrize(
    ("then", "held"),
    [
        (lambda _: None, WHOLE),
        (lambda bench: bench.ask(3), WHOLE),
        (lambda bench: bench.ask(4), 0.0),
        (lambda bench: bench.ask(1, lane=bench.other), 0.0),
        (lambda bench: bench.ask(1, deadline=bench.now + 0.0181), 0.0001),
        (lambda bench: bench.ask(1, deadline=bench.now + 0.0170), 0.0),
        (lambda bench: bench.scheduler.next(bench.now), 0.0),
    ],
    ids=[
        "until its time is over",
        "while one is missing",
        "not when all are back",
        "not when another lane waits",
        "no longer than lets the first be in time",
        "not when it would be late",
        "not once it is taken",
    ],
)
def test_a_batch_is_held(then: Callable[[Bench], object], held: float) -> None:
    bench = Bench()
    bench.answer()
    then(bench)
    assert bench.held == pytest.approx(held, abs=1e-9)


def test_nothing_is_held_longer_than_its_time() -> None:
    bench = Bench()
    bench.answer()
    bench.now += WHOLE
    assert bench.held == 0
    assert bench.run().rows == 4


def test_what_is_held_makes_nobody_be_refused() -> None:
    bench = Bench()
    bench.answer()
    deadline = bench.now + 0.0181
    assert bench.scheduler.refusal(bench.lane, 1, deadline, bench.now) is None
    bench.ask(1, deadline=deadline)
    assert bench.held == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("waiting", "rows"), [(0, 1), (16, 4)], ids=["for one who was alone", "for more than a batch has room for"]
)
def test_nothing_is_held(waiting: int, rows: int) -> None:
    bench = Bench()
    bench.answer(waiting=waiting, rows=rows)
    assert bench.held == 0


def test_nothing_is_held_while_requests_are_refused() -> None:
    bench = Bench()
    for _ in range(20):
        bench.now += 0.01
        bench.lane.refused(bench.now)
    bench.answer()
    assert bench.held == 0


def test_a_lane_that_goes_is_held_no_more() -> None:
    bench = Bench()
    bench.answer(waiting=0)
    assert bench.held > 0
    bench.scheduler.remove(bench.lane)
    assert bench.held == 0


def test_a_pause_in_which_nobody_asks_is_not_taken_for_a_cost() -> None:
    seen: list[float] = []
    bench = Bench()
    bench.lane.holding.observe = lambda _rows, seconds: seen.append(seconds)  # type: ignore[method-assign]
    bench.answer()
    bench.now += 60
    bench.ask(4)
    bench.end(bench.run())
    assert seen == [pytest.approx(HELD_SHARE * 0.018 + 0.018)]
