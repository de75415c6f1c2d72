"""Batch predictions: how much of an engine's own rate is left when rows come from files and go to Parquet.

    .venv/bin/python bench/batch.py            # resnet (mid) and mlp (tiny), about two minutes
    .venv/bin/python bench/batch.py mlp --seconds 5

For each workload the same version, engine, batches and process: first and last the engine alone in a plain loop over arrays
that are in memory, between them a batch run from Parquet to Parquet on a store in a folder. The ratio is the rate of the run,
from its first byte read to its last part written, over the mean of both loops. Nothing else should run on the machine.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serving.publish import NAMESPACE, publish
from serving.workloads import WORKLOADS, Array
from windlass_core.contracts import InferRun, InferServe, NewestVersion
from windlass_core.resources.dataset import Source
from windlass_core.run import ProgressBoard, RunContext
from windlass_core.store import Store
from windlass_infer.batch.run import batch_rows, in_batches, predict
from windlass_infer.engine import Engine
from windlass_infer.loader import load
from windlass_infer.scheduling.queue import MAX_BATCH_ROWS

INPUT = "inputs"
# Rows that the loop goes over again and again: more than a processor's cache holds, as in a run.
LOOP_ROWS = 8 * MAX_BATCH_ROWS
# Of the input: a file is copied while the one before it is read.
FILES = 5
# Numbers of a row group, as the preparation of a Dataset writes them.
GROUP_CELLS = 500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["resnet", "mlp"], help="of bench/serving (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of a run, about (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="windlass-bench-") as folder:
        store = Store.open(NAMESPACE, {"WINDLASS_STORE_URL": f"file://{folder}/store"})
        references = publish(Path(folder) / "store", options.workloads)
        for name in options.workloads:
            version = NewestVersion.model_validate(references[name])
            _compare(name, version, store, Path(folder), options.seconds)


def _compare(name: str, version: NewestVersion, store: Store, folder: Path, seconds: float) -> None:
    serve = InferServe.model_validate(
        {"namespace": NAMESPACE, "name": name, "model": {**version.model_dump(), "uri": f"store://models/{name}/1"}}
    )
    scratch = folder / f"engine-{name}"
    scratch.mkdir()
    engine = load(serve, store, scratch).engine
    questions = WORKLOADS[name].questions()
    rows = _rows(questions, LOOP_ROWS)
    before = _loop(engine, rows, seconds / 4)
    total = FILES * LOOP_ROWS * max(1, round(before * seconds / (FILES * LOOP_ROWS)))
    for form in ("lists", "columns") if rows.ndim == 2 else ("lists",):
        source = f"raw/{name}-{form}/"
        for number in range(FILES):
            columns = _write(folder / "store" / NAMESPACE / source / f"{number:02}.parquet", rows, total // FILES, form)
        run = _run(store, version, source, f"store://predictions/{name}-{form}", columns)
        after = _loop(engine, rows, seconds / 4)
        alone = (before + after) / 2
        print(
            f"{name} from {form:8}{engine.variant:14}engine alone {before:12,.0f} and {after:12,.0f} rows/s   "
            f"batch run of {total:,} rows {run:12,.0f} rows/s   ratio {run / alone:.3f}",
            flush=True,
        )
        before = after


def _loop(engine: Engine, rows: Array, seconds: float) -> float:
    """Rows a second of the engine alone, in the batches of a run."""
    started, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        in_batches(engine, {INPUT: rows}, len(rows), batch_rows(engine.signature))
        done += len(rows)
    return done / spent


def _run(store: Store, version: NewestVersion, source: str, output: str, columns: list[str]) -> float:
    """Rows a second of a batch run on one engine."""
    asked = InferRun(
        namespace=NAMESPACE,
        model=version,
        input=Source(uri=f"store://{source}"),
        output=output,
        columns=columns,
        engines=1,
    )
    context = RunContext(ProgressBoard(), threading.Event())
    predict(asked, context, store)
    return context.progress.current().samples_per_second or 0.0


def _rows(questions: Array, count: int) -> Array:
    repeated: Array = np.concatenate([questions] * -(-count // len(questions)))[:count]
    return repeated


def _write(path: Path, rows: Array, total: int, form: str) -> list[str]:
    """Parquet of `total` rows; gives the names of its columns where each holds one number of a row."""
    flat = rows.reshape(len(rows), -1)
    if form == "lists":
        values = pa.array(flat.reshape(-1))
        table, names = pa.table({INPUT: pa.FixedSizeListArray.from_arrays(values, flat.shape[1])}), []
    else:
        names = [f"c{number}" for number in range(flat.shape[1])]
        table = pa.table({name: np.ascontiguousarray(flat[:, number]) for number, name in enumerate(names)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        block = pa.concat_tables([table] * max(1, GROUP_CELLS // rows.size))
        for start in range(0, total, len(block)):
            writer.write_table(block.slice(0, min(len(block), total - start)).combine_chunks(), row_group_size=len(block))
    return names


if __name__ == "__main__":
    main()
