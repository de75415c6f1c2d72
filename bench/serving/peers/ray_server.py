"""Ray Serve: `python -m serving.peers.ray_server WORKLOAD PORT PROCESSES BATCH`; BATCH 1 is without batching.

The default proxy and one replica a core; bodies as bytes, which its Starlette request gives as they are.
"""

import logging
import sys
import threading
from typing import Any

import numpy as np
import orjson
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from serving.workloads import WORKLOADS

workload, port, processes, batch = sys.argv[1], *map(int, sys.argv[2:5])


def read(body: bytes) -> Any:
    """One row, without the rows' dimension."""
    shape, dtype = WORKLOADS[workload].row
    if WORKLOADS[workload].binary:
        return np.frombuffer(body, dtype=dtype).reshape(shape)
    return np.array(orjson.loads(body)["inputs"], dtype=dtype).reshape(shape)


def written(row: Any) -> Response:
    """As JSON."""
    return Response(orjson.dumps({"outputs": row}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@serve.deployment(num_replicas=processes, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class One:
    """Each request alone."""

    def __init__(self) -> None:
        self.predict = WORKLOADS[workload].predictor()

    async def __call__(self, request: Request) -> Response:
        """Answer."""
        return written(self.predict(read(await request.body())[None])[0])


@serve.deployment(num_replicas=processes, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Batched:
    """Requests together, by Ray's own batching."""

    def __init__(self) -> None:
        self.predict = WORKLOADS[workload].predictor()

    @serve.batch(max_batch_size=batch, batch_wait_timeout_s=0.002)
    async def together(self, rows: list[Any]) -> list[Any]:
        """Rows of several requests."""
        return list(self.predict(np.stack(rows)))

    async def __call__(self, request: Request) -> Response:
        """Answer."""
        return written(await self.together(read(await request.body())))


if __name__ == "__main__":
    ray.init(num_cpus=processes, include_dashboard=False, logging_level=logging.ERROR, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
    deployment: Any = One if batch == 1 else Batched
    serve.run(deployment.bind(), route_prefix="/predict")
    threading.Event().wait()
