"""What the event loop does before an answer is foretold from the turn before; who has no time for it is refused."""

import time
from collections.abc import Callable

import pytest
from lane_bench import Bench, run

from windlass_core.lasting import FORGET_SECONDS, OVER_SECONDS
from windlass_infer.errors import Overloaded
from windlass_infer.lanes.turns import MARGIN, NEWEST, OVERLOADED_SHARE, Turns


class Loop:
    """A loop in virtual time: reads take `reading` seconds each."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ends: list[Callable[[], None]] = []
        self.turns = Turns(self.ends.append, lambda: self.now)

    def read(self, requests: int, reading: float) -> None:
        """So many in one turn, without its end."""
        for _ in range(requests):
            self.turns.read(self.now)
            self.now += reading

    def end(self) -> None:
        """What the loop calls once a turn."""
        (end,) = self.ends
        self.ends.clear()
        end()

    def settle(self, requests: int, reading: float, answering: float) -> None:
        """Turns that are all alike, until the figures are those of the turns."""
        for _ in range(int(20 / NEWEST)):
            self.read(requests, reading)
            self.end()
            self.turns.answered(requests, requests * answering)


@pytest.mark.parametrize(
    ("read_now", "waiting", "seconds"),
    [
        pytest.param(1, 0, 99 * 1e-4, id="the first of a turn waits for all that are read after it"),
        pytest.param(100, 0, 0.0, id="the last of a turn waits for none"),
        pytest.param(100, 60, 60 * 5e-5, id="and for the answers of those before it"),
        pytest.param(150, 0, 0.0, id="a turn that is longer than the one before tells nothing of the rest"),
    ],
)
def test_what_is_ahead_is_what_the_last_turn_had(read_now: int, waiting: int, seconds: float) -> None:
    loop = Loop()
    loop.settle(100, 1e-4, 5e-5)
    loop.read(read_now, 1e-4)
    assert loop.turns.seconds_ahead(waiting) == pytest.approx(MARGIN * seconds, rel=1e-3)


def test_the_figures_follow_a_loop_that_becomes_slower_or_faster() -> None:
    loop = Loop()
    loop.settle(10, 1e-5, 1e-5)
    for reading in (1e-3, 1e-5):
        loop.settle(10, reading, reading)
        loop.read(1, reading)
        assert loop.turns.seconds_ahead(1) == pytest.approx(MARGIN * 10 * reading, rel=1e-3)
        loop.end()


def test_bodies_that_wait_are_read_and_answered_before() -> None:
    loop = Loop()
    loop.settle(1, 1e-6, 5e-5)
    for _ in range(int(20 / NEWEST)):
        loop.turns.body_waits()
        loop.turns.bodies_read(1, 2e-5)
    for _ in range(30):
        loop.turns.body_waits()
    assert loop.turns.seconds_ahead(10) == pytest.approx(MARGIN * (30 * 2e-5 + 40 * 5e-5), rel=0.02)
    loop.turns.bodies_read(30, 6e-4)
    assert loop.turns.seconds_ahead(10) == pytest.approx(MARGIN * 10 * 5e-5, rel=0.02)


@pytest.mark.parametrize(
    ("refused_at", "asked_at", "share"),
    [
        pytest.param([], 0.0, 1.0, id="nobody was refused"),
        pytest.param([0.0], 0.05, 1.0, id="the first refusals may be a burst"),
        pytest.param([0.0, 0.2], 0.2, OVERLOADED_SHARE, id="refusals that go on are more than can be done"),
        pytest.param([0.0, 0.2], 0.2 + OVER_SECONDS, 1.0, id="without refusals it is over"),
        pytest.param([0.0, 0.2, 0.5], 0.5, OVERLOADED_SHARE, id="soon after, it is the same again"),
        pytest.param([0.0, 0.2, 0.2 + FORGET_SECONDS], 0.2 + FORGET_SECONDS, 1.0, id="later it may be a burst again"),
        pytest.param([0.0, 0.2, 0.4, 0.6], 0.6, OVERLOADED_SHARE, id="it lasts as long as refusals do"),
    ],
)
def test_all_of_its_time_is_a_requests_to_wait_but_when_refusals_go_on(
    refused_at: list[float], asked_at: float, share: float
) -> None:
    turns = Loop().turns
    for at in refused_at:
        turns.refused(50.0 + at)
    assert turns.patience(8.0, 50.0 + asked_at) == pytest.approx(8.0 * share)


def test_nothing_is_ahead_of_what_comes_alone() -> None:
    loop = Loop()
    loop.turns.answered(0, 1.0)
    assert loop.turns.seconds_ahead(0) == 0
    loop.read(1, 1e-3)
    assert loop.turns.seconds_ahead(0) == 0


def test_a_lane_refuses_what_its_loop_has_no_time_to_answer_though_its_engine_is_idle() -> None:
    async def test(bench: Bench) -> None:
        answers = [await bench.occupy()]  # so that what comes now waits
        now = time.perf_counter()
        bench.runners.turns.answered(1, 1e4)
        answers.append(bench.ask(1))
        for refused in (lambda: bench.ask(2, deadline=now + 60), lambda: bench.lane.refuse_early(now + 60, now)):
            with pytest.raises(Overloaded, match="must be there in"):
                refused()
        cheap = bench.lane.early_refusal(now + 60, now)
        assert isinstance(cheap, Overloaded)
        assert cheap.retry_after >= 1
        assert cheap is bench.lane.early_refusal(now + 50, now), "one for all that have no more time in this turn"
        assert bench.lane.early_refusal(now + 1e5, now) is None, "another has the time"
        assert bench.measured.shed["deadline"] == 4
        bench.engine.go.set()
        for answer in answers:
            await answer
        assert bench.lane.early_refusal(now + 60, now) is None, "nothing waits that would be answered before"

    run(test)


def test_one_row_that_was_let_in_before_its_body_was_read_is_not_judged_again() -> None:
    async def test(bench: Bench) -> None:
        answers = [await bench.occupy()]
        now = time.perf_counter()
        assert bench.lane.early_refusal(now + 60, now) is None
        bench.runners.turns.answered(1, 1e4)
        answers += [bench.ask(1), bench.ask(1, deadline=now + 60, let_in=True)]
        for other in (
            lambda: bench.ask(1, 2, deadline=now + 60, let_in=True),  # its head did not tell that it has two rows
            lambda: bench.ask(1, deadline=now + 60),
        ):
            with pytest.raises(Overloaded, match="must be there in"):
                other()
        bench.engine.go.set()
        for answer in answers:
            await answer

    run(test)


def test_when_refusals_go_on_a_lane_refuses_who_would_wait_long_though_in_time() -> None:
    async def test(bench: Bench) -> None:
        waiting = [await bench.occupy(), bench.ask(1)]
        turns = bench.runners.turns
        turns.answered(1, 20.0)  # one that waits takes two seconds to answer, of which three times as much is allowed for
        now = time.perf_counter()
        assert bench.lane.early_refusal(now + 20, now) is None, "nobody was refused yet"
        for ago in (0.2, 0.0):
            turns.refused(now - ago)
        assert isinstance(bench.lane.early_refusal(now + 20, now), Overloaded)
        with pytest.raises(Overloaded, match="than can be done: the answer would wait 6 s of the 19 s that it has"):
            bench.lane.refuse_early(now + 19, now)
        assert bench.lane.early_refusal(now + 60, now) is None, "of a minute it is a small share"
        bench.engine.go.set()
        for answer in waiting:
            await answer
        now = time.perf_counter()
        turns.refused(now)
        assert bench.lane.early_refusal(now + 20, now) is None, "nothing waits"

    run(test)


def test_refusals_that_are_the_engines_alone_are_none_of_the_loops() -> None:
    async def test(bench: Bench) -> None:
        waiting = [await bench.occupy(), bench.ask(1)]
        turns = bench.runners.turns
        turns.answered(1, 1e-6)  # next to nothing, but not nothing
        now = time.perf_counter()
        for ago in (0.2, 0.0):
            assert isinstance(bench.lane.early_refusal(now + 1.5, now - ago), Overloaded), "the engine takes three seconds"
        assert turns.patience(1.0, now) == 1.0
        bench.engine.go.set()
        for answer in waiting:
            await answer

    run(test)


def test_what_is_refused_by_its_head_counts_as_asked_for_in_whatever_way() -> None:
    async def test(bench: Bench) -> None:
        waiting = [await bench.occupy(), bench.ask(1)]
        offered: list[int] = []
        bench.runners.load.offer = lambda rows, *_: offered.append(rows)  # type: ignore[method-assign]
        now = time.perf_counter()
        with pytest.raises(Overloaded):
            bench.lane.refuse_early(now + 1.5, now)
        for _ in range(3):
            assert bench.lane.early_refusal(now + 1.5, now)
        waiting.append(bench.ask(1))
        assert offered == [1, 1, 3], "those that are refused alike are counted with the next"
        bench.engine.go.set()
        for answer in waiting:
            await answer

    run(test)
