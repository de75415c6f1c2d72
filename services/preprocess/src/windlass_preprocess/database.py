"""DuckDB within this container's limits, ended by a request to stop.

Data larger than memory spills to files in a scratch folder. Everything runs in the order of the rows, so that the same input
gives the same output whatever the number of threads. Knows no store and no Dataset.
"""

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from windlass_core.errors import BadConfiguration, Stopped
from windlass_preprocess.limits import MIB, Limits

# How often a running query is checked against a request to stop, in seconds.
STOP_CHECK_SECONDS = 0.2
# How often it is told how far a query is, in seconds.
TELL_SECONDS = 1.0
_NO_SPACE = ("No space left on device", "max_temp_directory_size")


class Database:
    """One connection, for one thread.

    All methods raise Stopped after a request to stop, BadConfiguration with reason OutOfMemory or ScratchFull when the
    limits do not suffice, and duckdb.Error for the rest.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        stop_requested: threading.Event,
        *,
        working: Callable[[float], None] = lambda _percent: None,
    ) -> None:
        """
        Args:
            folder: for what does not fit into memory.
            limits: of memory and threads.
            stop_requested: ends the query that runs.
            working: called from another thread about once a second with how far the query that runs is, in per cent.
        """
        self._limits = limits
        self._working = working
        self._stop_requested = stop_requested
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="query-watcher", daemon=True)
        self._connection = duckdb.connect(
            ":memory:",  # its tables spill too, and are filled three times faster than those of a database on disk
            config={
                "memory_limit": f"{limits.memory_bytes // MIB}MiB",
                "threads": limits.threads,
                "temp_directory": str(folder / "spill"),
                "preserve_insertion_order": True,
                # All that is needed is built in; DuckDB must not look for extensions on the network.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        # Without the bar nothing is counted; without the print nothing is shown.
        self._connection.execute("SET enable_progress_bar = true")
        self._connection.execute("SET enable_progress_bar_print = false")

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._closed.set()
        self._watcher.join()
        self._connection.close()

    def check_stop(self) -> None:
        """Nothing but what every method begins with; for work beside the database."""
        if self._stop_requested.is_set():
            raise Stopped("the run was asked to stop")

    def run(self, sql: str) -> None:
        """Execute one statement for its effect."""
        with self._translated():
            self._connection.execute(sql)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        with self._translated():
            return self._connection.execute(sql, list(parameters)).fetchall()

    def row(self, sql: str, parameters: Sequence[object] = ()) -> tuple[Any, ...]:
        """The only row of a result."""
        (only,) = self.rows(sql, parameters)
        return only

    def batches(self, sql: str, rows: int) -> Iterator[pa.RecordBatch]:
        """A large result in order, in batches of about `rows` rows, never whole in memory."""
        with self._translated():
            yield from self._connection.sql(sql).to_arrow_reader(rows)

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Within it sums of floating-point numbers are added up in the order of the rows, so that they come out the same."""
        self.run("SET threads = 1")
        try:
            yield
        finally:
            self.run(f"SET threads = {self._limits.threads}")

    def _watch(self) -> None:
        told = time.monotonic()
        while not self._closed.wait(STOP_CHECK_SECONDS):
            if self._stop_requested.is_set():
                self._connection.interrupt()
            if time.monotonic() - told >= TELL_SECONDS and (percent := self._connection.query_progress()) >= 0:
                self._working(percent)
                told = time.monotonic()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self.check_stop()
        try:
            yield
        except duckdb.InterruptException as error:
            raise Stopped("the run was asked to stop") from error
        except duckdb.OutOfMemoryException as error:
            if any(text in str(error) for text in _NO_SPACE):
                raise _scratch_full() from error
            sentence = (
                f"preparing this data needs more than the {self._limits.memory_bytes // MIB} MiB that the pod's memory leaves "
                "for it; raise spec.resources.memory"
            )
            raise BadConfiguration(sentence, reason="OutOfMemory") from error
        except duckdb.IOException as error:
            if any(text in str(error) for text in _NO_SPACE):
                raise _scratch_full() from error
            raise


@contextmanager
def on_scratch() -> Iterator[None]:
    """Within it a disk without room is BadConfiguration with reason ScratchFull; other errors of files stay as they are."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _scratch_full() from error
        raise


def _scratch_full() -> BadConfiguration:
    sentence = "the node's disk has no room left for this data; it needs about three times the size of the source"
    return BadConfiguration(sentence, reason="ScratchFull")


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
