"""The forms in which servers are asked and answer: a row of a workload to a request, an answer to numbers."""

import base64
import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serving.workloads import Array, Workload

# A row to path, headers and body; head and body of an answer to the numbers in it.
Write = Callable[[Workload, Array], tuple[str, dict[str, str], bytes]]
Read = Callable[[Workload, bytes, bytes], NDArray[np.float32]]

JSON = {"Content-Type": "application/json"}


def as_json(path: str) -> Write:
    """Numbers as JSON, or base64 of the bytes, under `inputs`."""

    def write(workload: Workload, row: Array) -> tuple[str, dict[str, str], bytes]:
        inputs = base64.b64encode(row.tobytes()).decode() if workload.binary else _plain(row)
        return path, JSON, json.dumps({"inputs": inputs}).encode()

    return write


def as_rows(path: str) -> Write:
    """As `as_json`, for a server that takes several rows in one request."""

    def write(workload: Workload, row: Array) -> tuple[str, dict[str, str], bytes]:
        inputs = base64.b64encode(row.tobytes()).decode() if workload.binary else _plain(row)
        return path, JSON, json.dumps({"inputs": [inputs]}).encode()

    return write


def as_bytes(path: str) -> Write:
    """The bytes alone, where the workload is binary; else JSON."""

    def write(workload: Workload, row: Array) -> tuple[str, dict[str, str], bytes]:
        if workload.binary:
            return path, {"Content-Type": "application/octet-stream"}, row.tobytes()
        return as_json(path)(workload, row)

    return write


def as_v2(path: str, tensor: str, *, binary: bool) -> Write:
    """The Open Inference Protocol, with binary data where the workload is binary and the server can take it."""

    def write(workload: Workload, row: Array) -> tuple[str, dict[str, str], bytes]:
        shape, dtype = workload.row
        datatype = {"float32": "FP32", "int64": "INT64"}[dtype]
        described: dict[str, object] = {"name": tensor, "datatype": datatype, "shape": [1, *shape]}
        if not (binary and workload.binary):
            document: dict[str, object] = {"inputs": [described | {"data": _plain(row.ravel())}]}
            return path, JSON, json.dumps(document).encode()
        raw = row.tobytes()
        described["parameters"] = {"binary_data_size": len(raw)}
        document = {"inputs": [described], "parameters": {"binary_data_output": True}}
        head = json.dumps(document).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        return path, headers, head + raw

    return write


def _plain(row: Array) -> object:
    """Numbers as a client would write them, not as float32 prints them."""
    return row.tolist() if row.dtype.kind == "i" else row.astype(np.float64).round(4).tolist()


def from_json(_workload: Workload, _head: bytes, body: bytes) -> NDArray[np.float32]:
    """`outputs` of a JSON object, or the object itself when it is a list."""
    document = json.loads(body)
    return np.asarray(document["outputs"] if isinstance(document, dict) else document, dtype=np.float32).ravel()


def from_v2(workload: Workload, head: bytes, body: bytes) -> NDArray[np.float32]:
    """The first output, in JSON or binary."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"inference-header-content-length":
            return np.frombuffer(body[int(value) :], dtype=np.float32, count=workload.outputs)
    return np.asarray(json.loads(body)["outputs"][0]["data"], dtype=np.float32).ravel()
