"""Engines on one version, in a process of their own: `python -m windlass_infer.engines.trial`.

Its own, because an engine that is only tried must not leave its memory and its threads behind in the process that serves, and
because one that crashes or hangs must not take that process along. Reads on stdin the names of files that say what is to be
done, a line each; leaves what it found beside them, and says a line on stdout when that is whole. Imports little: a trial of a
small model is over in less time than the imports of the service take.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from windlass_infer.engine import Arrays, Engine, EngineSignature, TensorSignature
from windlass_infer.engines.candidates import BY_VARIANT
from windlass_infer.engines.failures import first_line
from windlass_infer.engines.machine import limit_threads
from windlass_infer.engines.opening import load_library, open_engine
from windlass_infer.engines.samples import read_arrays, rows_of, write_arrays
from windlass_infer.engines.timing import measure


@dataclass(frozen=True)
class Request:
    """What is to be tried.

    Attributes:
        variant: the candidate.
        program: file of its format.
        signature: what the manifest says of it.
        inputs: archive of rows.
        answers: where the answers to them go.
        result: where a Result goes.
    """

    variant: str
    program: str
    signature: EngineSignature
    inputs: str
    answers: str
    result: str

    def write(self, path: Path) -> None:
        """Leave it where the other process reads it."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Request":
        """What `write` wrote."""
        fields = json.loads(path.read_text())
        signature = {
            kind: tuple(TensorSignature(tensor["name"], tensor["datatype"], tuple(tensor["shape"])) for tensor in tensors)
            for kind, tensors in fields["signature"].items()
        }
        return cls(**{**fields, "signature": EngineSignature(**signature)})


@dataclass(frozen=True)
class Result:
    """What was found: seconds of a run by rows in a batch and of loading, or why there is nothing; `late` if time was short."""

    seconds: dict[int, float]
    load_seconds: float
    failure: str | None = None
    late: bool = False

    def write(self, path: Path) -> None:
        """Leave it where the other process reads it."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Result":
        """What `write` wrote."""
        fields: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**fields, "seconds": {int(rows): value for rows, value in fields["seconds"].items()}})


def answers(engine: Engine, inputs: Arrays) -> Arrays:
    """What an engine answers, the first row asked alone: a program that has the number of rows built in shows it so."""
    first = engine.run({name: values[:1] for name, values in inputs.items()})
    if rows_of(inputs) == 1:
        return first
    others = engine.run({name: values[1:] for name, values in inputs.items()})
    return {name: np.concatenate([values, others[name]]) for name, values in first.items()}


def run(request: Request) -> Result:
    """Load, answer, measure."""
    inputs = read_arrays(Path(request.inputs))
    started = time.perf_counter()
    try:
        load_library(BY_VARIANT[request.variant].engine)
        started = time.perf_counter()
        engine = open_engine(request.variant, Path(request.program), request.signature, inputs)
        answered = answers(engine, inputs)
        load_seconds = time.perf_counter() - started
        write_arrays(answered, Path(request.answers))
        seconds = measure(engine, inputs)
        engine.close()
        return Result(seconds, load_seconds)
    except Exception as error:  # noqa: BLE001  # libraries raise anything; what one said is the result
        return Result({}, time.perf_counter() - started, failure=first_line(error))


def main() -> None:
    """The process."""
    limit_threads()
    # What a library prints must not be taken for an answer.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for line in sys.stdin:
            request = Request.read(Path(line.removesuffix("\n")))
            run(request).write(Path(request.result))
            print(request.variant, file=replies, flush=True)


if __name__ == "__main__":
    main()
