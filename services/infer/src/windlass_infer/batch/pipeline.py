"""Reading ahead, predicting and writing at the same time, so that the engines are what a run waits for.

One thread reads and encodes, one for each engine predicts, one writes. Between them stand few partitions, so that memory stays
bounded whichever of them is the slowest. Knows no files, no model and no store.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from enum import Enum, auto
from typing import Generic, TypeVar

Item = TypeVar("Item")
Worker = TypeVar("Worker")
Result = TypeVar("Result")

# After a batch an engine's thread needs the interpreter for microseconds, and would wait for Python's own 5 ms whenever another
# thread has it: as long as dozens of batches of a small model.
SWITCH_SECONDS = 0.0002


def flow(
    source: Iterator[Item],
    workers: Sequence[Worker],
    work: Callable[[Worker, Item], Result],
    finish: Callable[[Worker, Item, Result], None],
    stopping: threading.Event,
) -> bool:
    """Work on all items and finish the result of each.

    Args:
        source: gives items, in one thread.
        workers: what works, each in a thread of its own, on one item at a time.
        work: gives a result.
        finish: does the rest, in one thread.
        stopping: when set, no further item is begun; those that are begun are finished.

    Returns:
        Whether all items were finished.

    Raises:
        Exception: the first that any of them raised; then no further item is begun.
    """
    halt = threading.Event()
    with (
        _switching(SWITCH_SECONDS),
        ThreadPoolExecutor(1, "read") as reading,
        ThreadPoolExecutor(len(workers), "predict") as predicting,
        ThreadPoolExecutor(1, "write") as writing,
    ):
        ahead = _ReadAhead(source, reading, len(workers) + 1, lambda: halt.is_set() or stopping.is_set())
        behind = _WriteBehind(writing, len(workers) + 1)

        def loop(worker: Worker) -> None:
            while (item := ahead.take()) is not None:
                result = work(worker, item)
                behind.add(lambda item=item, result=result: finish(worker, item, result))  # type: ignore[misc]

        loops = [predicting.submit(loop, worker) for worker in workers]
        try:
            for ended in as_completed(loops):
                ended.result()
            behind.wait()
        except BaseException:
            halt.set()
            reading.shutdown(wait=False, cancel_futures=True)
            raise
    return ahead.exhausted


@contextmanager
def _switching(seconds: float) -> Iterator[None]:
    """Within it threads hand the interpreter on after so many seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _End(Enum):
    """Why there is no further item. Only the first means that all were given."""

    OF_SOURCE = auto()
    OF_TIME = auto()


class _ReadAhead(Generic[Item]):
    """Items that are read before anybody takes them."""

    def __init__(self, source: Iterator[Item], pool: ThreadPoolExecutor, depth: int, ended: Callable[[], bool]) -> None:
        self._source = source
        self._pool = pool
        self._ended = ended
        self._lock = threading.Lock()
        self._coming: deque[Future[Item | _End]] = deque(pool.submit(self._read) for _ in range(depth))
        self.exhausted = False

    def take(self) -> Item | None:
        """The next item; None when there is none, or when it is time to end."""
        with self._lock:
            if self._ended():
                return None
            coming = self._coming.popleft()
            self._coming.append(self._pool.submit(self._read))
        item = coming.result()
        if isinstance(item, _End):
            # Taken in order: whoever meets the end of the source knows that every item before it was taken.
            self.exhausted = self.exhausted or item is _End.OF_SOURCE
            return None
        return item

    def _read(self) -> Item | _End:
        return _End.OF_TIME if self._ended() else next(self._source, _End.OF_SOURCE)


class _WriteBehind:
    """Results on their way out; whoever adds one waits while there are too many, and hears of one that failed."""

    def __init__(self, pool: ThreadPoolExecutor, depth: int) -> None:
        self._pool = pool
        self._room = threading.BoundedSemaphore(depth)
        self._failed: list[BaseException] = []
        self._pending: set[Future[None]] = set()
        self._lock = threading.Lock()

    def add(self, finish: Callable[[], None]) -> None:
        """Finish one later. Raises what an earlier one raised."""
        self._room.acquire()
        self._raise()
        future = self._pool.submit(finish)
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._done)

    def wait(self) -> None:
        """All are finished. Raises what one of them raised."""
        with self._lock:
            pending = list(self._pending)
        for future in pending:
            future.result()
        self._raise()

    def _done(self, future: Future[None]) -> None:
        if error := future.exception():
            self._failed.append(error)
        with self._lock:
            self._pending.discard(future)
        self._room.release()

    def _raise(self) -> None:
        if self._failed:
            raise self._failed[0]
