"""One batch: rows of several requests joined, run by the engine, and cut up again for those who sent them.

When the engine raises for a batch, each request in it runs once more alone, so that only the guilty one fails; an error of ours
is told to the caller as it is. An engine that gives back another number of rows than it was given fails them all: nobody may
get the rows of another.

Knows no queue, no thread and no clock but the one that measures.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from windlass_core.errors import WindlassError
from windlass_infer.engine import Array, Arrays, Engine, run_rows
from windlass_infer.errors import PredictionFailed
from windlass_infer.scheduling.queue import Piece

log = logging.getLogger(__name__)

Outcome = Arrays | WindlassError
Done = Callable[[Outcome], None]


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way: `done` is called once on the event loop, with its outputs or with why there are none."""

    inputs: Arrays
    done: Done
    own_deadline: bool = False  # the caller named it; else it is the server's
    gone: Callable[[], bool] | None = None  # says that nobody waits any more
    outputs: list[Arrays] = field(default_factory=list)  # of the pieces computed so far
    settled: bool = False  # answered, or nobody waits any more

    @property
    def unwanted(self) -> bool:
        """Whether computing it would be for nobody."""
        return self.settled or (self.gone is not None and self.gone())


@dataclass(slots=True)
class Computed:
    """What became of a batch: one outcome a piece, in their order, and seconds by part."""

    outcomes: Sequence[Outcome]
    failures: int = 0
    join_seconds: float = 0.0
    run_seconds: float = 0.0
    split_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """The whole of it."""
        return self.join_seconds + self.run_seconds + self.split_seconds


class Computer:
    """Runs batches on one engine, one at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def compute(self, pieces: Sequence[Piece[Call]], rows: int) -> Computed:
        """The outcome of each piece; `rows` is how many they have together. Raises nothing that an engine raises."""
        started = time.perf_counter()
        try:
            joined = _joined(pieces)
            began = time.perf_counter()
            outputs = run_rows(self.engine, joined, rows)
            ended = time.perf_counter()
            outcomes = _split(outputs, pieces)
        except Exception as error:  # noqa: BLE001  # an engine may raise anything, and the server must live
            return self._failed(pieces, error, started)
        return Computed(outcomes, 0, began - started, ended - began, time.perf_counter() - ended)

    def close(self) -> None:
        """Let the engine go."""
        self.engine.close()

    def _failed(self, pieces: Sequence[Piece[Call]], error: Exception, started: float) -> Computed:
        if not isinstance(error, WindlassError):
            log.error("the engine raised for a batch of %d requests", len(pieces), exc_info=error)
            error = PredictionFailed("the model's program failed on this request; the service's log tells why")
        computed = Computed([error], 1)
        if len(pieces) > 1:
            alone = [self.compute([piece], piece.rows) for piece in pieces]
            computed = Computed([part.outcomes[0] for part in alone], 1 + sum(part.failures for part in alone))
        computed.run_seconds = time.perf_counter() - started
        return computed


def whole(outputs: Sequence[Arrays]) -> Arrays:
    """The outputs of a request from those of its pieces."""
    if len(outputs) == 1:
        return outputs[0]
    return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}


def _joined(pieces: Sequence[Piece[Call]]) -> Arrays:
    """The rows of all pieces below one another.

    In memory that is taken anew: a buffer that stays was no faster at any size from 16 KiB to 3 MiB, and answers of a program
    that hands its input through would have to be copied out of it.
    """
    if len(pieces) == 1:
        return _part(pieces[0])
    names = pieces[0].work.item.inputs
    return {name: np.concatenate([_cut(piece.work.item.inputs[name], piece) for piece in pieces]) for name in names}


def _part(piece: Piece[Call]) -> Arrays:
    inputs = piece.work.item.inputs
    return inputs if piece.rows == piece.work.rows else {name: _cut(values, piece) for name, values in inputs.items()}


def _cut(values: Array, piece: Piece[Call]) -> Array:
    return values if piece.rows == piece.work.rows else values[piece.start : piece.start + piece.rows]


def _split(outputs: Arrays, pieces: Sequence[Piece[Call]]) -> list[Outcome]:
    """The rows of each piece, in their order."""
    if len(pieces) == 1:
        return [outputs]
    split: list[Outcome] = []
    start = 0
    for piece in pieces:
        end = start + piece.rows
        split.append({name: values[start:end] for name, values in outputs.items()})
        start = end
    return split
