"""What there is without a model server: bare ASGI, and naive handlers, by uvicorn with uvloop and httptools.

bare    ASGI that reads the body and answers with a fixed one: what HTTP costs in Python
asgi    bare ASGI around the naive handler's work: json, eager torch, json
naive   FastAPI as every tutorial has it: pydantic in and out, a synchronous route

python -m serving.peers.baseline KIND WORKLOAD PORT PROCESSES
"""

import base64
import json
import os
import sys
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from serving.workloads import WORKLOADS, Workload

KIND, WORKLOAD = "WINDLASS_BENCH_KIND", "WINDLASS_BENCH_WORKLOAD"
JSON_HEADERS = [(b"content-type", b"application/json")]


def fixed_answer(workload: Workload) -> bytes:
    """As long as a real one."""
    return json.dumps({"outputs": [round(number / 7, 6) for number in range(workload.outputs)]}).encode()


def bare(workload: Workload) -> Any:
    """The application without a model."""
    body = fixed_answer(workload)

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        await answer(send, body)

    return app


def asgi(workload: Workload) -> Any:
    """The naive handler's work, without a framework."""
    work = naive_work(workload)

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await answer(send, work(await read(receive)))

    return app


def naive_work(workload: Workload) -> Any:
    """Body to body, as a naive handler does it."""
    predict = workload.predictor()

    def work(body: bytes) -> bytes:
        return json.dumps({"outputs": predict(rows_of(workload, json.loads(body)))[0].tolist()}).encode()

    return work


def rows_of(workload: Workload, document: dict[str, Any]) -> Any:
    """One row; what is binary comes as base64, as the examples of the frameworks have it."""
    shape, dtype = workload.row
    if workload.binary:
        flat = np.frombuffer(base64.b64decode(document["inputs"]), dtype=dtype)
    else:
        flat = np.array(document["inputs"], dtype=dtype)
    return flat.reshape(1, *shape)


class Asked(BaseModel):
    """A row: numbers, or base64 of its bytes."""

    inputs: list[float] | str


class Answered(BaseModel):
    """What the model says."""

    outputs: list[float]


def naive(workload: Workload) -> Any:
    """FastAPI, pydantic, a thread pool."""
    predict = workload.predictor()
    app = FastAPI()

    @app.post("/predict")
    def handler(asked: Asked) -> Answered:
        return Answered(outputs=predict(rows_of(workload, {"inputs": asked.inputs}))[0].tolist())

    return app


async def read(receive: Any) -> bytes:
    """The body."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def answer(send: Any, body: bytes) -> None:
    """One answer."""
    headers = [*JSON_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create() -> Any:
    """The application that the environment names; called in each of uvicorn's processes."""
    kinds = {"bare": bare, "asgi": asgi, "naive": naive}
    return kinds[os.environ[KIND]](WORKLOADS[os.environ[WORKLOAD]])


if __name__ == "__main__":
    os.environ[KIND], os.environ[WORKLOAD] = sys.argv[1:3]
    uvicorn.run(
        "serving.peers.baseline:create",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[3]),
        workers=int(sys.argv[4]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        # uvicorn replaces a worker that says nothing for so long; importing torch takes longer on a machine that is busy.
        timeout_worker_healthcheck=120,
    )
