"""Runs inside of an image, by its Python and with nothing but what it holds, and prints as JSON which parts of it work.

    python image_probe.py                the files, compiled libraries and modules of any image
    python image_probe.py FOLDER         and the doors of infer, on the store in FOLDER/store.tar.gz, as FOLDER/specs.json says

Knows the packages of the image. Must not know: pytest, or how the store was made.
"""

import contextlib
import ctypes
import http.client
import importlib
import importlib.util
import io
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

INSTALLED = Path("/opt/windlass")
WORK = Path("/tmp/probe")  # noqa: S108 - the only folder that can be written to, in a pod of its own
MOUNTS = ("/proc", "/sys", "/dev", "/tmp", "/probe", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")  # noqa: S108
HTTP_PORT, GRPC_PORT = 8080, 8081
START_SECONDS = 60.0
ASK_SECONDS = 30.0


def main(folder: Path | None) -> None:
    """Probe, and print."""
    said: dict[str, Any] = {"bytes": stored_bytes(), "broken": broken_libraries(), **modules()}
    if folder is not None:
        specs = json.loads((folder / "specs.json").read_text())
        shutil.unpack_archive(folder / "store.tar.gz", WORK / "store")
        said["served"] = {name: served(spec) for name, spec in specs["serve"].items()}
        said["predicted"] = {name: predicted(name, options) for name, options in specs["run"].items()}
    print(json.dumps(said))


def stored_bytes() -> int:
    """Bytes of all files of the image; what a pod mounts over it does not count."""
    total = 0
    for place, folders, files in os.walk("/"):
        own = [name for name in files if str(Path(place, name)) not in MOUNTS]
        folders[:] = [name for name in folders if str(Path(place, name)) not in MOUNTS]
        total += sum(Path(place, name).lstat().st_size for name in own)
    return total


def broken_libraries() -> list[str]:
    """The compiled libraries that cannot be loaded, because of what is not there."""
    standard_library = Path(os.__file__).parent
    broken = []
    for library in sorted([*INSTALLED.rglob("*.so*"), *standard_library.rglob("*.so")]):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            broken.append(f"{library}: {error}")
    return broken


def modules() -> dict[str, list[str]]:
    """What importing each of our modules shows: packages that are `absent`, and what else `failed`."""
    absent: set[str] = set()
    failed: list[str] = []
    for package in ("windlass_core", "windlass_preprocess", "windlass_infer", "windlass_operator"):
        if importlib.util.find_spec(package) is None:
            continue
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.", lambda _: None):
            if module.name.endswith("__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                absent.add(str(error.name))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs in the report
                failed.append(f"{module.name}: {error!r}")
    return {"absent": sorted(absent), "failed": failed}


def served(spec: dict[str, Any]) -> dict[str, Any]:
    """Answers of a server with this spec, by the form of the question, and how many spans it sent."""
    import grpc
    from grpc_health.v1 import health_pb2

    from windlass_infer.grpc import open_inference_pb2 as wire

    with collector() as spans, server(spec, spans.url):
        predict = f"/v1/models/{spec['name']}:predict"
        answers = {
            "image/png": ask(predict, "image/png", picture("PNG")),
            "image/jpeg": ask(predict, "image/jpeg", picture("JPEG")),
            "application/json": ask(predict, "application/json", json.dumps({"instances": [pixels()]}).encode()),
        }
        with grpc.insecure_channel(f"127.0.0.1:{GRPC_PORT}") as channel:
            values = [value for plane in pixels() for row in plane for value in row]
            contents = wire.InferTensorContents(fp32_contents=values)
            tensor = wire.ModelInferRequest.InferInputTensor(
                name="image", datatype="FP32", shape=[1, 3, 8, 8], contents=contents
            )
            answer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=wire.ModelInferRequest.SerializeToString,
                response_deserializer=wire.ModelInferResponse.FromString,
            )(wire.ModelInferRequest(model_name=spec["name"], inputs=[tensor]), timeout=ASK_SECONDS)
            health = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )(health_pb2.HealthCheckRequest(), timeout=ASK_SECONDS)
        wait(lambda: spans.count >= len(answers), "the spans of all requests")
        [output] = answer.outputs
        return {**answers, "grpc": list(output.contents.fp32_contents), "health": health.status}


def predicted(name: str, options: list[str]) -> dict[str, Any]:
    """Rows and columns of what a batch run writes."""
    import pyarrow.parquet as pq

    output = f"predictions/{name}"
    command = [str(INSTALLED / "bin" / "windlass-infer"), "run", *options, f"--output=store://raw/{output}"]
    subprocess.run(command, env={**os.environ, **environment(), "POD_NAMESPACE": "team"}, check=True, timeout=START_SECONDS)
    parts = [pq.ParquetFile(path).read() for path in sorted((WORK / "store" / "team" / "raw" / output).rglob("*.parquet"))]
    return {"rows": sum(part.num_rows for part in parts), "columns": parts[0].column_names}


@contextlib.contextmanager
def server(spec: dict[str, Any], collector_url: str) -> Iterator[None]:
    """A ready server, by the image's own entry point."""
    variables = {
        "WINDLASS_RUN_SPEC": json.dumps(spec),
        "WINDLASS_TERMINATION_LOG": str(WORK / "termination-log"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    command = [str(INSTALLED / "bin" / "windlass-infer"), "serve", f"--port={HTTP_PORT}", f"--grpc-port={GRPC_PORT}"]
    process = subprocess.Popen(command, env={**os.environ, **environment(), **variables})
    try:
        wait(ready, "the server is ready")
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def environment() -> dict[str, str]:
    """Where the store is."""
    return {"WINDLASS_STORE_URL": f"file://{WORK / 'store'}"}


class Spans:
    """How many spans came, and where to send them."""

    def __init__(self, url: str) -> None:
        """None came yet."""
        self.url = url
        self.count = 0


@contextlib.contextmanager
def collector() -> Iterator[Spans]:
    """What an OpenTelemetry collector takes over HTTP."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            spans.count += sum(len(scope.spans) for one in sent.resource_spans for scope in one.scope_spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        spans = Spans(f"http://127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield spans
        listening.shutdown()


def ask(path: str, kind: str, body: bytes) -> Any:
    """The predictions that a request is answered with."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=ASK_SECONDS)) as connection:
        connection.request("POST", path, body, {"Content-Type": kind})
        return json.load(connection.getresponse())["predictions"]


def picture(file_format: str) -> bytes:
    """A file with one colour: all of the red, half of the green, nothing of the blue."""
    from PIL import Image

    written = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 128, 0)).save(written, file_format)
    return written.getvalue()


def pixels() -> list[list[list[float]]]:
    """The same colour as the model takes it: a plane for each channel, less the mean of one half, over the deviation."""
    return [[[value] * 8] * 8 for value in (2.0, 0.0, -2.0)]


def ready() -> bool:
    """Whether the server says that it is ready."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=ASK_SECONDS)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def wait(condition: Any, what: str) -> None:
    """Return when the condition holds. Raises TimeoutError after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain until {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
