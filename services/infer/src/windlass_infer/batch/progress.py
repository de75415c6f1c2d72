"""How far a run is, for GET /progress. Knows no files and no engine."""

import threading
import time

from windlass_core.run import ProgressBoard
from windlass_infer.batch.reading import Reader


class Telling:
    """Counts rows as they are written.

    Attributes:
        rows: written by this run; those of parts that were there before do not count.
    """

    def __init__(self, board: ProgressBoard, reader: Reader, engine: str) -> None:
        self._board = board
        self._reader = reader
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.rows = 0
        board.update(phase="Predicting", message="", rows=0, engine=engine)

    def written(self, rows: int) -> None:
        """So many rows more are written."""
        with self._lock:
            seconds = time.monotonic() - self._started
            self.rows += rows
            done = self._reader.fraction
            # What was passed over at the start took no time that could tell how long the rest takes.
            fresh = done - (self._reader.fraction_passed_over or 0.0)
            eta = seconds * (1 - done) / fresh if fresh > 0 else None
            rate = self.rows / seconds if seconds > 0 else None
            self._board.update(rows=self.rows, samples_per_second=rate, eta_seconds=eta)
