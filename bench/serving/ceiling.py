"""What the model alone can do, without any HTTP: eager torch in a plain loop, and the naive handler's own work.

python -m serving.ceiling WORKLOAD PROCESSES SECONDS    a JSON object on standard output
"""

import json
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context

import numpy as np

from serving.peers.baseline import naive_work
from serving.wire import as_json
from serving.workloads import WORKLOADS

BATCHES = (1, 8, 32)


def rows_per_second(workload: str, batch: int, seconds: float) -> float:
    """Of eager torch on one thread, in this process."""
    chosen = WORKLOADS[workload]
    predict = chosen.predictor()
    questions = chosen.questions()
    rows = np.concatenate([questions] * (batch // len(questions) + 1))[:batch]
    return batch * times_per_second(lambda: predict(rows), seconds)


def times_per_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` can be done, after a tenth of the time as warm-up."""
    warm = time.perf_counter() + seconds / 10
    while time.perf_counter() < warm:
        work()
    started = time.perf_counter()
    done = 0
    while (now := time.perf_counter()) < started + seconds:
        work()
        done += 1
    return done / (now - started)


def main() -> None:
    """All batches in as many processes as asked for at once; then the handler's work, alone."""
    name, processes, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    workload = WORKLOADS[name]
    with get_context("spawn").Pool(processes) as pool:
        rates = {
            str(batch): sum(pool.starmap(rows_per_second, [(name, batch, seconds)] * processes, chunksize=1))
            for batch in BATCHES
        }
    work = naive_work(workload)
    _path, _headers, body = as_json("/")(workload, workload.questions()[0])
    naive = 1000 / times_per_second(lambda: work(body), seconds)
    print(json.dumps({"processes": processes, "rows_per_second": rates, "naive_work_ms": naive}))


if __name__ == "__main__":
    main()
