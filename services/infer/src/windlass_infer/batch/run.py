"""One batch run, from its spec to the manifest of its predictions.

    plan (or find one's own) · load the version · read ahead, predict, write · manifest

Knows no HTTP; `__main__.py` puts it into a pod.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from windlass_core.contracts import InferRun, InferServe, PredictionsResult, RunResult, RunSpec
from windlass_core.errors import BadConfiguration, BadData, Stopped, Unavailable
from windlass_core.processes.cores import cpu_limit, process_count
from windlass_core.registry import Registry
from windlass_core.run import RunContext
from windlass_core.store import URI_SCHEME, Store, path_of
from windlass_infer.batch import pipeline
from windlass_infer.batch.encoding import Encoder, located
from windlass_infer.batch.inputs import Inputs, listed
from windlass_infer.batch.parts import Parts, Predictions, predictions_of
from windlass_infer.batch.plan import Plan, own, read_plan
from windlass_infer.batch.progress import Telling
from windlass_infer.batch.reading import Columns, Partition, Place, Reader
from windlass_infer.batch.versions import open_version
from windlass_infer.batch.writing import Made, check_kept, part_bytes
from windlass_infer.datatypes import DATATYPES
from windlass_infer.engine import Arrays, Engine, EngineSignature
from windlass_infer.engines.failures import first_line
from windlass_infer.loader import LoadedModel, load
from windlass_infer.predictor import Predictor
from windlass_infer.scheduling.queue import MAX_BATCH_ROWS

# What the engine takes and gives for one partition: large enough that what is done once a part costs little, small enough that
# a handful of partitions fit into half a gigabyte, and that a run which is asked to stop ends within seconds.
PARTITION_BYTES = 16 * 1024 * 1024
MOST_PARTITION_ROWS = 65_536
# What the engine takes and gives at once. A thread that has run a batch must have Python's lock before it runs the next: with
# four times as many rows of a tiny network in a batch a run had 0.98 of the engine's rate instead of 0.89. Beyond this engines
# are no faster, and no longer work in the processor's caches.
BATCH_BYTES = 256 * 1024
MOST_BATCH_ROWS = 512
# A dimension that each row chooses counts so many values in that estimate.
FREE_DIMENSION = 1024
# A text as long as most, in bytes.
TEXT_BYTES = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """A partition on its way to an engine."""

    place: Place
    arrays: Arrays
    kept: Columns


def execute(run: RunSpec, context: RunContext) -> RunResult:
    """Do what a pod's spec says, with the store of the pod. Raises as `predict`."""
    if not isinstance(run, InferRun):
        raise BadConfiguration(f"this program predicts; the run is of kind '{run.kind}'")
    return predict(run, context, Store.open(run.namespace))


def predict(asked: InferRun, context: RunContext, store: Store) -> RunResult:
    """Write the predictions for all rows, or go on with those that a run of the same spec has begun.

    Raises:
        BadConfiguration: the spec asks for what cannot be, or its folder belongs to another run.
        BadData: a row cannot be predicted for; names file and row. What was written stays.
        NotFound: there is no such version or file.
        Stopped: the run was asked to stop; the parts that were begun are written.
        Unavailable: the store does not answer.
    """
    folder = path_of(asked.output).rstrip("/")
    plan = read_plan(store, folder, asked)
    if plan is not None and (found := Parts(store, folder).published()):
        return _result(plan, *found, "the same predictions were made before")
    with tempfile.TemporaryDirectory(prefix="windlass-") as scratch:
        context.progress.update(phase="Loading")
        return _Run(asked, context, store, Path(scratch), folder, plan).do()


class _Run:
    """One run on its way."""

    def __init__(
        self, asked: InferRun, context: RunContext, store: Store, scratch: Path, folder: str, plan: Plan | None
    ) -> None:
        self._asked = asked
        self._context = context
        self._store = store
        self._scratch = scratch
        self._folder = folder
        model = plan.model if plan else open_version(Registry(store, "models"), asked.model).reference
        serve = InferServe(
            namespace=asked.namespace,
            name=model.name,
            model=model,
            engine=asked.engine,
            loss=asked.loss,
            max_batch_rows=asked.max_batch_rows,
        )
        loaded = self._load(serve)
        self._engines: Sequence[Engine] = [one.engine for one in loaded]
        self._predictor: Predictor = loaded[0].predictor
        check_kept(self._predictor, asked.keep)
        self._plan = plan or self._planned(serve)
        self._parts = Parts(store, folder)

    def do(self) -> RunResult:
        """See `predict`."""
        plan = self._plan
        encoder = Encoder(self._predictor, plan.format, self._asked.columns)
        columns = list(dict.fromkeys([*encoder.columns, *self._asked.keep]))
        with Inputs(self._store, plan, self._scratch, self._context.check_stop) as inputs:
            return self._predicted(encoder, inputs, Reader(inputs, plan, columns, self._parts.is_done))

    def _predicted(self, encoder: Encoder, inputs: Inputs, reader: Reader) -> RunResult:
        plan, started = self._plan, time.monotonic()
        telling = Telling(self._context.progress, reader, self._engines[0].variant)

        def finish(engine: Engine, item: Encoded, outputs: Arrays) -> None:
            made = Made(plan.model.name, plan.model.digest, engine.variant, self._name(item.place), item.place)
            self._parts.add(item.place, part_bytes(self._predictor, outputs, item.kept, made))
            telling.written(item.place.rows)

        source = self._encoded(reader.partitions(), encoder)
        complete = pipeline.flow(source, self._engines, self._compute, finish, self._context.stop_requested)
        for engine in self._engines:
            engine.close()
        if not complete:
            raise Stopped(f"the run was asked to stop; {telling.rows:,} rows more are predicted, and it can go on")
        predictions, digest = self._published(reader, inputs)
        seconds = time.monotonic() - started
        message = f"predicted {telling.rows:,} rows in {seconds:.1f} s"
        if self._parts.before:
            message += f"; {len(self._parts.before):,} parts were there before"
        return _result(plan, predictions, digest, message)

    def _load(self, serve: InferServe) -> list[LoadedModel]:
        """The version, once for each engine; the later ones find the choice and the figures of the first."""
        loaded = []
        for number in range(self._asked.engines or process_count(cpu_limit())):
            self._context.check_stop()
            own_folder = self._scratch / f"engine-{number}"
            own_folder.mkdir()
            loaded.append(load(serve, self._store, own_folder))
        return loaded

    def _planned(self, serve: InferServe) -> Plan:
        dataset, format_, files = listed(self._store, self._asked)
        signature = self._engines[0].signature
        rows = self._asked.max_batch_rows or batch_rows(signature)
        plan = Plan(
            asked=self._asked,
            model=serve.model,
            dataset=dataset,
            format=format_,
            files=files,
            partition_rows=self._asked.partition_rows or partition_rows(signature, rows),
            batch_rows=rows,
        )
        Encoder(self._predictor, format_, self._asked.columns)  # what cannot be is refused before the folder is taken
        plan = own(self._store, self._folder, plan)
        if plan.model != serve.model:
            raise Unavailable(f"another pod has begun this run with {plan.model.uri}; start again to go on with it")
        return plan

    def _encoded(self, partitions: Iterator[Partition], encoder: Encoder) -> Iterator[Encoded]:
        for partition in partitions:
            arrays = encoder.encode(partition.columns, partition.place, self._name(partition.place))
            yield Encoded(partition.place, arrays, {name: partition.columns[name] for name in self._asked.keep})

    def _compute(self, engine: Engine, item: Encoded) -> Arrays:
        """The outputs for all rows of a partition, batch by batch: the same batches whoever computes them."""
        try:
            return in_batches(engine, item.arrays, item.place.rows, self._plan.batch_rows)
        except Exception as error:
            log.exception("the engine raised")
            sentence = f"the model's program failed: {first_line(error)}"

            def attempt(start: int, end: int) -> None:
                try:
                    engine.run({name: values[start:end] for name, values in item.arrays.items()})
                except Exception as again:
                    raise BadData(sentence, reason="PredictionFailed") from again

            raise located(BadData(sentence, reason="PredictionFailed"), attempt, item.place, self._name(item.place)) from error

    def _published(self, reader: Reader, inputs: Inputs) -> tuple[Predictions, str]:
        if not reader.places:
            raise BadData(f"{self._name(Place(0, 0, 0, 0))} has no rows", reason="EmptySource")
        self._context.progress.update(phase="Publishing", message="", eta_seconds=None)
        parts = self._parts.all(sorted(reader.places), self._plan)
        classes = self._predictor.class_labels("probabilities")
        return self._parts.publish(predictions_of(self._plan, parts, inputs.digests, self._parts.columns, classes))

    def _name(self, place: Place) -> str:
        return self._plan.uri(self._plan.files[place.file])


def partition_rows(signature: EngineSignature, batch_rows: int) -> int:
    """Rows whose inputs and outputs have PARTITION_BYTES: whole batches, at least one."""
    rows = min(MOST_PARTITION_ROWS, PARTITION_BYTES // _row_bytes(signature))
    return max(1, rows // batch_rows) * batch_rows


def batch_rows(signature: EngineSignature) -> int:
    """Rows whose inputs and outputs have BATCH_BYTES: as many as a batch of requests has, or twice or four times as many."""
    rows = MAX_BATCH_ROWS
    while 2 * rows <= min(MOST_BATCH_ROWS, BATCH_BYTES // _row_bytes(signature)):
        rows *= 2
    return rows


def _row_bytes(signature: EngineSignature) -> int:
    row_bytes = 0
    for tensor in (*signature.inputs, *signature.outputs):
        values = int(np.prod([FREE_DIMENSION if size < 0 else size for size in tensor.shape[1:]], dtype=np.int64))
        row_bytes += values * (DATATYPES[tensor.datatype].size or TEXT_BYTES)
    return max(1, row_bytes)


def in_batches(engine: Engine, arrays: Arrays, rows: int, batch_rows: int) -> Arrays:
    """The engine's outputs for so many rows, at most `batch_rows` at a time."""
    outputs = [
        engine.run({name: values[start : start + batch_rows] for name, values in arrays.items()})
        for start in range(0, rows, batch_rows)
    ]
    return {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}


def _result(plan: Plan, predictions: Predictions, digest: str, message: str) -> RunResult:
    folder = path_of(plan.asked.output).rstrip("/")
    return RunResult(
        outcome="Succeeded",
        reason="Predicted",
        message=message,
        predictions=PredictionsResult(
            uri=f"{URI_SCHEME}{folder}",
            digest=digest,
            model=predictions.model,
            rows=predictions.rows,
            parts=len(predictions.parts),
        ),
    )
