"""MLServer: a custom runtime, served by `mlserver start FOLDER` with the settings that `servers.py` writes.

Its REST door reads the V2 protocol as JSON alone; the binary extension is not there.
"""

import os

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from serving.workloads import WORKLOADS

WORKLOAD = WORKLOADS[os.environ["WINDLASS_BENCH_WORKLOAD"]]


class Model(MLModel):
    """The same eager torch model as all servers have."""

    async def load(self) -> bool:
        """In each worker."""
        self.rows = WORKLOAD.predictor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Rows in, rows out."""
        shape, dtype = WORKLOAD.row
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(dtype, copy=False).reshape(-1, *shape)
        output = NumpyCodec.encode_output(name="outputs", payload=np.asarray(self.rows(rows)))
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=[output])
