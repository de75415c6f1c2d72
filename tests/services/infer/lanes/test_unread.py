"""Bodies are read at once; where more is asked than can be done they follow the heads, a slice in each turn of the loop."""

import asyncio
from collections.abc import Callable

import pytest
from lane_bench import Bench, answer, doubled, run

from windlass_core.lasting import BURST_SECONDS, OVER_SECONDS
from windlass_infer.engine import Arrays
from windlass_infer.lanes.terms import WHENEVER
from windlass_infer.lanes.turns import Turns
from windlass_infer.lanes.unread import LONG_SLICE_SECONDS, SLICE_SECONDS, Unread

BODY_SECONDS = SLICE_SECONDS / 2.5  # three of them are a slice, five a long one
assert LONG_SLICE_SECONDS == 2 * SLICE_SECONDS


class Loop:
    """A loop in virtual time that has many refusals, and what it has read."""

    def __init__(self) -> None:
        self.now = 100.0
        self.read: list[int] = []
        self.ends: list[Callable[[], None]] = []
        self.turns = Turns(self.ends.append, lambda: self.now)
        self.unread = Unread(self.ends.append, self.turns, lambda: self.now)

    def overload(self) -> None:
        """Refusals go on."""
        self.turns.refused(self.now)
        self.now += 2 * BURST_SECONDS
        self.turns.refused(self.now)

    def take(self, *numbers: int, judged: bool = True) -> None:
        """Requests whose heads were read in this turn."""
        for number in numbers:
            self.turns.read(self.now)
            self.unread.take(lambda number=number: self.body(number), judged=judged)  # type: ignore[misc]  # bound now

    def body(self, number: int) -> None:
        """What reads a body; a negative one is a fault of ours."""
        self.now += BODY_SECONDS
        if number < 0:
            raise RuntimeError("a fault")
        self.read.append(number)

    def end(self) -> None:
        """The end of a turn."""
        ends, self.ends[:] = list(self.ends), []
        for end in ends:
            end()


def test_without_overload_each_body_is_read_with_its_head() -> None:
    loop = Loop()
    loop.take(1, 2, 3, 4, 5)
    assert loop.read == [1, 2, 3, 4, 5]


def test_of_a_crowd_that_comes_at_once_a_turn_reads_a_longer_slice_and_leaves_the_rest_to_the_next() -> None:
    loop = Loop()
    loop.take(*range(12))
    assert loop.read == [0, 1, 2, 3, 4], "as many as fit into the slice, at once"
    loop.end()
    assert loop.read == list(range(10)), "the next before other heads"
    loop.take(12)
    assert loop.read == list(range(10)), "and nobody goes before those that wait"
    loop.end()
    assert loop.read == list(range(13))
    loop.take(13)
    assert loop.read == list(range(14)), "then each is read with its head again"


def test_where_nobody_can_be_refused_all_are_read_at_once() -> None:
    loop = Loop()
    loop.take(*range(12), judged=False)
    assert loop.read == list(range(12))


def test_under_overload_a_turn_reads_all_heads_first_and_a_slice_of_the_bodies() -> None:
    loop = Loop()
    loop.overload()
    loop.take(1, 2, 3, 4, 5)
    assert loop.read == []
    loop.end()
    assert loop.read == [1, 2, 3]
    loop.take(6)
    assert loop.read == [1, 2, 3], "those that came before go first"
    loop.end()
    assert loop.read == [1, 2, 3, 4, 5, 6]


def test_what_waits_goes_first_also_when_the_overload_is_over() -> None:
    loop = Loop()
    loop.overload()
    loop.take(1, 2, 3, 4)
    loop.end()
    loop.now += 2 * OVER_SECONDS
    loop.take(5)
    loop.end()
    assert loop.read == [1, 2, 3, 4, 5]
    loop.take(6)
    assert loop.read[-1] == 6, "and then each is read with its head again"


def test_a_fault_at_one_body_keeps_no_other_from_being_read() -> None:
    loop = Loop()
    loop.overload()
    loop.take(-1, 2)
    with pytest.raises(RuntimeError, match="a fault"):
        loop.end()
    loop.end()
    assert loop.read == [2]


def test_a_version_that_is_let_go_answers_those_whose_bodies_wait() -> None:
    async def test(bench: Bench) -> None:
        bench.engine.go.set()
        bench.runners.turns.overloaded = True
        answers: list[asyncio.Future[Arrays]] = []
        bench.lane.take(lambda: answers.append(bench.ask(1, 2)), WHENEVER)
        await bench.lane.close()
        assert await answer(answers[0]) == doubled(1, 2)
        assert bench.engine.closed

    run(test)
