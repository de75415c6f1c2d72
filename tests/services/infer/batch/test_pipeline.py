"""What is read ahead is predicted and written, or the run knows that it is not whole; whenever it is asked to stop."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from windlass_infer.batch.pipeline import flow

Actions: TypeAlias = dict[int, Callable[[], object]]

ITEMS = 6
SECONDS = 10.0


class Stop(threading.Event):
    """A request to stop that knows who has seen that there is none yet."""

    def __init__(self) -> None:
        super().__init__()
        self.seen_by_workers = threading.Semaphore(0)

    def is_set(self) -> bool:
        answer = super().is_set()
        if threading.current_thread().name.startswith("predict"):
            self.seen_by_workers.release()
        return answer


class Given:
    """A source of numbers, and a place where each of them passes."""

    def __init__(self) -> None:
        self.stopping = Stop()
        self.asked = threading.Event()
        self.finished: list[int] = []

    def source(self, at: Actions) -> Iterator[int]:
        """The numbers, and something done before one is given; `ITEMS` stands for the end."""
        for number in range(ITEMS + 1):
            at.get(number, lambda: None)()
            if number < ITEMS:
                yield number

    def run(self, at: Actions, work: Callable[[int], object] = bool, workers: int = 1) -> bool:
        def worked(_: int, item: int) -> int:
            work(item)
            return item

        def finish(_: int, item: int, result: int) -> None:
            assert item == result
            self.finished.append(result)

        return flow(self.source(at), range(workers), worked, finish, self.stopping)

    def stop(self) -> None:
        """Somebody asks for it now."""
        self.stopping.set()
        self.asked.set()

    def hear(self) -> None:
        """Wait until somebody did."""
        assert self.asked.wait(SECONDS)


@pytest.mark.parametrize("workers", [1, 3])
def test_all_items_are_finished_when_nobody_asks_to_stop(workers: int) -> None:
    given = Given()
    assert given.run({}, workers=workers)
    assert sorted(given.finished) == list(range(ITEMS))


@pytest.mark.parametrize("number", range(ITEMS))
@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_that_is_asked_to_stop_while_an_item_is_read_is_not_whole(number: int, workers: int) -> None:
    given = Given()
    assert not given.run({number: given.stop}, workers=workers)
    # Workers that wait for an item already may get it; none between is left out.
    assert sorted(given.finished) == list(range(len(given.finished)))


def test_a_run_that_is_asked_to_stop_while_workers_wait_for_their_next_items_is_not_whole() -> None:
    given, workers = Given(), 3

    def stop_when_all_wait() -> None:
        for _ in range(workers):
            assert given.stopping.seen_by_workers.acquire(timeout=SECONDS)
        given.stop()

    # One of them gets the item that is being read, the others nothing: which is not the end of the source.
    assert not given.run({0: stop_when_all_wait}, workers=workers)
    assert given.finished == [0]


def test_a_run_that_is_asked_to_stop_when_all_is_read_and_not_all_predicted_is_not_whole() -> None:
    given = Given()
    # The reader stands two items before the worker, so that it meets the end of the source while the third last is worked on.
    assert not given.run({ITEMS: given.stop}, lambda item: given.hear() if item == ITEMS - 2 else None)
    assert given.finished == list(range(ITEMS - 1))


@pytest.mark.parametrize("number", range(ITEMS))
def test_items_that_were_begun_are_finished_before_a_run_stops(number: int) -> None:
    given = Given()
    whole = given.run({}, lambda item: given.stop() if item == number else None)
    assert not whole
    assert given.finished == list(range(number + 1))


FAILURES = {
    "the reader raises": ({3: lambda: 1 / 0}, bool),
    "a worker raises": ({}, lambda item: 1 / (item - 3)),
}


@pytest.mark.parametrize(("at", "work"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("workers", [1, 3])
def test_what_was_raised_is_raised_when(at: Actions, work: Callable[[int], object], workers: int) -> None:
    with pytest.raises(ZeroDivisionError):
        Given().run(at, work, workers)


def test_that_a_result_cannot_be_written_is_raised() -> None:
    def finish(*_: int) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        flow(iter(range(ITEMS)), [0], max, finish, threading.Event())
