"""Kept answers: given to whoever asks the same, never to another; one run for equal questions at once; off when useless."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass_infer.engine import Arrays
from windlass_infer.errors import DeadlineExceeded, PredictionFailed
from windlass_infer.lanes.asking import ask
from windlass_infer.lanes.cache import REST_SECONDS, TRIAL_LOOKUPS, Answers, CachedLane, key_of
from windlass_infer.lanes.computing import Done, Outcome
from windlass_infer.lanes.terms import WHENEVER, Terms
from windlass_infer.metrics import Measurements
from windlass_infer.predictor import ServedVersion
from windlass_infer.scheduling.queue import Priority

MEBIBYTE = 1024 * 1024


@dataclass
class StubTicket:
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class StubLane:
    """Keeps what is asked until the test answers it."""

    asked: list[tuple[Arrays, Done, Terms]] = field(default_factory=list)
    tickets: list[StubTicket] = field(default_factory=list)

    def submit(self, inputs: Arrays, _rows: int, done: Done, terms: Terms, *, gone: Callable[[], bool] | None) -> StubTicket:
        assert gone is not None, "the lane must be able to ask whether anybody waits"
        self.asked.append((inputs, done, terms))
        self.tickets.append(StubTicket())
        return self.tickets[-1]

    def answer(self, number: int, outcome: Outcome | None = None) -> None:
        inputs, done, _ = self.asked[number]
        done({"y": 2 * inputs["x"]} if outcome is None else outcome)


class Bench:
    def __init__(self, max_bytes: int = MEBIBYTE) -> None:
        self.now = 0.0
        self.lane = StubLane()
        version = ServedVersion("m", 1, "sha256:00", "m")
        self.measured = Measurements(version, "held", "held", lambda: (0.0, 0.0))
        self.cached = CachedLane(self.lane, max_bytes, self.measured, lambda: self.now)  # type: ignore[arg-type]

    def ask(self, *values: float, terms: Terms = WHENEVER) -> "asyncio.Future[Arrays]":
        return ask(self.cached.submit, {"x": np.array([values], np.float32)}, 1, terms)

    @property
    def counted(self) -> dict[str, int]:
        return {result: lookups.count for result, lookups in self.measured.cache.items()}


def run(test: Callable[[Bench], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test(Bench(**options)), 10)

    asyncio.run(whole())


def test_an_equal_question_is_answered_without_the_engine() -> None:
    async def test(bench: Bench) -> None:
        first = bench.ask(1, 2)
        bench.lane.answer(0)
        again, other = bench.ask(1, 2), bench.ask(2, 1)
        assert again.done()
        assert (await first)["y"].tolist() == (await again)["y"].tolist() == [[2, 4]]
        bench.lane.answer(1)
        assert (await other)["y"].tolist() == [[4, 2]]
        assert bench.counted == {"hit": 1, "shared": 0, "miss": 2}

    run(test)


def test_equal_questions_at_once_are_one_run() -> None:
    async def test(bench: Bench) -> None:
        callers = [bench.ask(1) for _ in range(5)]
        assert len(bench.lane.asked) == 1
        bench.lane.answer(0)
        assert [(await caller)["y"].tolist() for caller in callers] == [[[2]]] * 5
        assert bench.counted == {"hit": 0, "shared": 4, "miss": 1}

    run(test)


def test_the_run_goes_on_while_anybody_waits_for_it_and_ends_with_the_last() -> None:
    async def test(bench: Bench) -> None:
        first, second = bench.ask(1), bench.ask(1)
        first.cancel()
        await asyncio.sleep(0)
        assert not bench.lane.tickets[0].cancelled
        second.cancel()
        await asyncio.sleep(0)
        assert bench.lane.tickets[0].cancelled
        late = bench.ask(1)
        assert len(bench.lane.asked) == 2, "nobody joins a run that was given up"
        bench.lane.answer(1)
        assert (await late)["y"].tolist() == [[2]]

    run(test)


def test_what_fails_for_the_first_one_s_own_reasons_is_asked_again_for_the_others() -> None:
    async def test(bench: Bench) -> None:
        first, second = bench.ask(1, terms=Terms(deadline=0.1)), bench.ask(1, terms=Terms(deadline=60.0))
        bench.lane.answer(0, DeadlineExceeded("too late"))
        with pytest.raises(DeadlineExceeded):
            await first
        bench.lane.answer(1)
        assert (await second)["y"].tolist() == [[2]]

    run(test)


def test_what_fails_for_its_input_fails_for_all_and_is_not_kept() -> None:
    async def test(bench: Bench) -> None:
        callers = [bench.ask(1), bench.ask(1)]
        bench.lane.answer(0, PredictionFailed("broken"))
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PredictionFailed] * 2
        bench.ask(1)
        assert len(bench.lane.asked) == 2

    run(test)


def test_an_interactive_request_does_not_wait_behind_equal_batch_work() -> None:
    async def test(bench: Bench) -> None:
        bench.ask(1, terms=Terms(priority=Priority.BATCH))
        bench.ask(1)
        assert [terms.priority for _, _, terms in bench.lane.asked] == [Priority.BATCH, Priority.INTERACTIVE]

    run(test)


def test_where_nothing_is_asked_twice_nothing_is_looked_up_for_a_while() -> None:
    async def test(bench: Bench) -> None:
        for number in range(TRIAL_LOOKUPS + 10):
            bench.ask(float(number))
        assert bench.counted["miss"] == TRIAL_LOOKUPS
        assert bench.cached.kept_bytes == 0
        bench.now += REST_SECONDS
        bench.ask(0.5)
        assert bench.counted["miss"] == TRIAL_LOOKUPS + 1

    run(test)


def test_where_questions_are_asked_twice_it_stays_on() -> None:
    async def test(bench: Bench) -> None:
        for number in range(3 * TRIAL_LOOKUPS):
            bench.ask(float(number // 2))
            if number % 2 == 0:
                bench.lane.answer(len(bench.lane.asked) - 1)
        assert bench.counted == {"hit": 1.5 * TRIAL_LOOKUPS, "shared": 0, "miss": 1.5 * TRIAL_LOOKUPS}

    run(test)


def test_kept_answers_stay_within_their_bytes_and_the_one_used_longest_ago_goes_first() -> None:
    answers = Answers(100_000)
    large = {"y": np.zeros(1000, np.float32)}
    for number in range(100):
        answers.keep(bytes([number]), large)
        assert answers.find(bytes([0])) is not None, "used again and again"
        assert answers.kept_bytes <= 100_000
    assert answers.find(bytes([1])) is None
    assert answers.find(bytes([99])) is not None
    answers.keep(b"too large", {"y": np.zeros(10_000, np.float32)})
    assert answers.find(b"too large") is None


def test_a_kept_answer_does_not_keep_the_batch_that_it_was_a_part_of() -> None:
    answers = Answers(MEBIBYTE)
    batch = np.zeros((1000, 4), np.float32)
    answers.keep(b"key", {"y": batch[3:4]})
    kept = answers.find(b"key")
    assert kept is not None
    assert kept["y"].base is None


Values = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6)


@given(one=Values, other=Values)
def test_keys_are_equal_only_for_equal_inputs(one: list[float], other: list[float]) -> None:
    first, second = (np.array(values, np.float32) for values in (one, other))
    same = first.tobytes() == second.tobytes()
    assert (key_of({"x": first}) == key_of({"x": second})) is same


@pytest.mark.parametrize(
    "other",
    [
        {"y": np.zeros((2, 2), np.float32)},
        {"x": np.zeros((4, 1), np.float32)},
        {"x": np.zeros((2, 2), np.int32)},
        {"x": np.zeros((2, 2), np.float32), "y": np.zeros(1, np.float32)},
        {"x": np.array([[b"", b""], [b"", b""]], object)},
    ],
    ids=["another name", "another shape", "another type", "one more input", "texts"],
)
def test_keys_tell_inputs_apart_that_have_the_same_bytes(other: Arrays) -> None:
    assert key_of({"x": np.zeros((2, 2), np.float32)}) != key_of(other)


def test_keys_tell_texts_apart_that_are_cut_differently() -> None:
    first, second = (np.array([texts], object) for texts in ([b"ab", b"c"], [b"a", b"bc"]))
    assert key_of({"x": first}) != key_of({"x": second})
