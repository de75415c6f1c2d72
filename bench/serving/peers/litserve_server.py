"""LitServe: `python -m serving.peers.litserve_server WORKLOAD PORT PROCESSES BATCH`; BATCH 1 is without batching.

Its documentation advises one worker a core and `fast_queue` for high rates. It reads JSON or forms: what is binary comes as
base64.
"""

import sys
from typing import Any

import litserve
import numpy as np

from serving.peers.baseline import rows_of
from serving.workloads import WORKLOADS


class Api(litserve.LitAPI):
    """The same eager torch model as all servers have."""

    def __init__(self, workload: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = workload  # and not the workload, because LitServe sends this object to its workers

    def setup(self, device: str) -> None:  # noqa: ARG002  # the name is LitServe's
        """In each worker."""
        self.predict_rows = WORKLOADS[self.name].predictor()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One row, without the rows' dimension."""
        return rows_of(WORKLOADS[self.name], request)[0]

    def batch(self, inputs: list[Any]) -> Any:
        """Rows together."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """A batch, or one row."""
        return self.predict_rows(x) if self.max_batch_size > 1 else self.predict_rows(x[None])[0]

    def unbatch(self, output: Any) -> Any:
        """Rows apart."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"outputs": output.tolist()}


if __name__ == "__main__":
    workload, port, processes, batch = sys.argv[1], *map(int, sys.argv[2:5])
    api = Api(workload, max_batch_size=batch, batch_timeout=0.002 if batch > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=processes, fast_queue=True, timeout=60)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)
