"""The work queue, in virtual time: every wait is exact and takes no time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from virtual_time import run

from windlass_operator.queue import Backoff, RetryLater, WorkQueue

Work = Callable[[str], Awaitable[float | None]]


class Recorder:
    """Work that notes when it began on which key, and takes a second."""

    def __init__(self, *answers: float | Exception | None, seconds: float = 1.0) -> None:
        self.calls: list[tuple[str, float]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._answers = list(answers)
        self._seconds = seconds

    async def __call__(self, key: str) -> float | None:
        self.calls.append((key, asyncio.get_running_loop().time()))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(self._seconds)
        self._at_once -= 1
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def play(work: Recorder, story: Callable[["WorkQueue[str]"], Awaitable[None]], *, workers: int = 4) -> list[tuple[str, float]]:
    """What the work saw while the story was told and 1,000 s passed."""

    async def stage() -> None:
        queue: WorkQueue[str] = WorkQueue(work, workers=workers, chance=lambda: 0.0)
        task = asyncio.create_task(queue.run())
        await story(queue)
        await asyncio.sleep(1000)
        task.cancel()

    run(stage())
    return work.calls


def test_a_burst_of_events_on_one_key_is_one_round() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        for _ in range(200):
            queue.add("a")

    assert play(Recorder(), story) == [("a", 0.0)]


def test_an_event_during_the_work_makes_one_more_round_after_it() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(0.5)
        for _ in range(200):
            queue.add("a")

    assert play(Recorder(), story) == [("a", 0.0), ("a", 1.0)]


def test_one_key_is_never_worked_on_twice_at_once_and_never_more_keys_than_workers() -> None:
    work = Recorder()

    async def story(queue: WorkQueue[str]) -> None:
        for number in range(50):
            queue.add(str(number))
            queue.add(str(number))

    calls = play(work, story, workers=7)
    assert work.most_at_once == 7
    assert sorted(key for key, _ in calls) == sorted(map(str, range(50)))


def test_a_key_comes_again_when_its_work_asks_for_it() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")

    assert play(Recorder(30.0, None), story) == [("a", 0.0), ("a", 31.0)]


def test_a_wish_for_later_is_dropped_when_the_key_is_worked_on_before() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(10)
        queue.add("a")

    assert play(Recorder(30.0, None), story) == [("a", 0.0), ("a", 10.0)]


def test_of_several_wishes_for_later_the_earliest_counts() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add_after("a", 50)
        queue.add_after("a", 5)
        queue.add_after("a", 20)

    assert play(Recorder(), story) == [("a", 5.0)]


def test_failures_rest_twice_as_long_each_time_and_success_starts_over() -> None:
    fault = RetryLater("busy")

    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(100)
        queue.add("a")

    times = [at for _, at in play(Recorder(fault, fault, fault, None, fault, None, seconds=0.0), story)]
    assert times == pytest.approx([0, 0.02, 0.06, 0.14, 100, 100.02])


def test_the_server_may_ask_for_a_longer_rest() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")

    assert play(Recorder(RetryLater("busy", after=7.0), None, seconds=0.0), story) == [("a", 0.0), ("a", 7.0)]


def test_nobody_may_ask_for_a_rest_longer_than_the_largest() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")

    assert play(Recorder(RetryLater("busy", after=86_400.0), None, seconds=0.0), story) == [("a", 0.0), ("a", 120.0)]


def test_an_unexpected_error_ends_neither_the_worker_nor_the_key() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(50)
        queue.add("b")

    calls = play(Recorder(ZeroDivisionError("oops"), None, None, seconds=0.0), story, workers=1)
    assert [key for key, _ in calls] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [
        pytest.param(1, 0.0, 0.02, id="the first rest is short, since most failures are a write that lost a race"),
        pytest.param(4, 0.0, 0.16, id="each further failure doubles it"),
        pytest.param(4, 1.0, 0.112, id="jitter shortens it by at most three tenths"),
        pytest.param(30, 0.0, 120.0, id="it never exceeds the largest"),
        pytest.param(10_000, 0.0, 120.0, id="nor does it overflow"),
    ],
)
def test_backoff(failures: int, chance: float, seconds: float) -> None:
    assert Backoff().seconds(failures, chance) == pytest.approx(seconds)


def test_a_forgotten_key_does_not_come_back() -> None:
    async def story(queue: WorkQueue[str]) -> None:
        queue.add_after("a", 10)
        queue.forget("a")

    assert play(Recorder(), story) == []


def test_the_queue_tells_how_old_its_oldest_work_is() -> None:
    async def stage() -> None:
        work = Recorder(seconds=60)
        queue: WorkQueue[str] = WorkQueue(work, workers=1)
        task = asyncio.create_task(queue.run())
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("b")
        await asyncio.sleep(29)
        assert (queue.longest_run(), queue.oldest_wait(), queue.depth) == (30.0, 29.0, 1)
        await asyncio.sleep(100)
        assert (queue.longest_run(), queue.oldest_wait(), queue.depth, queue.retrying) == (0.0, 0.0, 0, 0)
        task.cancel()

    run(stage())
