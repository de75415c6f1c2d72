"""BentoML: served by `bentoml serve serving.peers.bentoml_service:Model`; the environment says what and how.

Its HTTP door reads JSON or forms. What is binary comes as base64 text, so that no number has to be read from text.
"""

import os

import bentoml
import numpy as np

from serving.peers.baseline import rows_of
from serving.workloads import WORKLOADS

WORKLOAD = WORKLOADS[os.environ["WINDLASS_BENCH_WORKLOAD"]]
PROCESSES = int(os.environ["WINDLASS_BENCH_PROCESSES"])
BATCH = int(os.environ["WINDLASS_BENCH_BATCH"])
Row = str if WORKLOAD.binary else list[float]


@bentoml.service(workers=PROCESSES, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Model:
    """The same eager torch model as all servers have."""

    def __init__(self) -> None:
        self.rows = WORKLOAD.predictor()

    @bentoml.api(batchable=BATCH > 1, max_batch_size=max(BATCH, 2), max_latency_ms=1000)
    def predict(self, inputs: list[Row]) -> np.ndarray:  # type: ignore[valid-type]  # its form depends on the workload
        """Rows in, rows out."""
        return self.rows(np.concatenate([rows_of(WORKLOAD, {"inputs": row}) for row in inputs]))
