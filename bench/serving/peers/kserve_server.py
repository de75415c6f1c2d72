"""KServe's Python server: `python -m serving.peers.kserve_server --http_port PORT --workers N`; the environment says what.

V2 with the binary extension. Batching is the work of another container of KServe, with one batch in flight, and is not used.
"""

import os

import kserve
from kserve import InferRequest, InferResponse
from kserve.protocol.infer_type import InferOutput
from kserve.protocol.rest.multiprocess.server import RESTServerProcess

from serving.workloads import WORKLOADS

WORKLOAD = WORKLOADS[os.environ["WINDLASS_BENCH_WORKLOAD"]]


class Model(kserve.Model):
    """The same eager torch model as all servers have."""

    def __init__(self) -> None:
        super().__init__("model")
        self.load()

    def load(self) -> bool:
        """In each worker."""
        self.rows = WORKLOAD.predictor()
        self.ready = True
        return self.ready

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002
        """Rows in, rows out."""
        answers = self.rows(payload.inputs[0].as_numpy())
        output = InferOutput(name="outputs", shape=list(answers.shape), datatype="FP32")
        output.set_data_from_numpy(answers, binary_data=WORKLOAD.binary)
        return InferResponse(response_id=payload.id or "", model_name="model", infer_outputs=[output])


if __name__ == "__main__":
    # KServe replaces a worker that says nothing for 5 s; importing torch takes longer on a machine that is busy.
    RESTServerProcess.is_alive.__defaults__ = (120.0,)
    kserve.ModelServer(enable_grpc=False, access_log_format=None).start([Model()])
