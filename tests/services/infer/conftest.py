"""Real model versions in a folder store, and the service on them as a real process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from children import bound_to_us, free_port
from onnx import TensorProto, helper, numpy_helper
from waiting import until

from windlass_core.contracts import EngineName, InferServe, RunResult, VersionReference
from windlass_core.manifests import ModelContent, TensorDescription
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.store import Store
from windlass_preprocess.features import CategoricalFeature, ClassLabel, Feature, Label, NumericFeature, QuantityLabel
from windlass_preprocess.transform import TRANSFORM_FILE, Transform

NAMESPACE = "team"
LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0
ROWS = "rows"


@dataclass(frozen=True)
class ExampleModel:
    """A model that is small enough to be checked by hand: outputs are `features @ weights`, through softmax for classes."""

    features: list[Feature]
    label: Label
    weights: Any

    @property
    def transform(self) -> Transform:
        return Transform(features=self.features, label=self.label)

    @property
    def classes(self) -> list[Any] | None:
        return self.label.classes if isinstance(self.label, ClassLabel) else None

    def expected(self, rows: list[Any]) -> Any:
        """What the model answers, computed by numpy."""
        outputs = self.transform.apply_rows(rows) @ np.asarray(self.weights, dtype=np.float32)
        if self.classes is None:
            return outputs
        shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def number(column: str, **fields: Any) -> NumericFeature:
    return NumericFeature.model_validate({"column": column, "type": "float64"} | fields)


NUMBERS = ExampleModel(
    features=[number("a", offset=1.0, scale=2.0), number("b"), number("c", type="int64", offset=5.25)],
    label=ClassLabel(column="digit", type="int64", classes=[3, 5, 8]),
    weights=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
)
MIXED = ExampleModel(
    features=[
        CategoricalFeature(column="island", type="string", categories=["Biscoe", "Dream"]),
        number("mass", offset=4000.0, scale=800.0, fill=4000.0),
        number("ringed", type="bool"),
        number("seen", type="date", offset=14000.0, scale=100.0),
        CategoricalFeature(column="year", type="int64", categories=[2007, 2008], unknown="ignore", encoding="ordinal"),
    ],
    label=ClassLabel(column="species", type="string", classes=["Adélie", "Gentoo"]),
    weights=[[1, 0], [0, 1], [0, 2], [1, 0], [0.5, 0], [0.25, 0]],
)
QUANTITY = ExampleModel(
    features=[number("rooms"), number("area", scale=10.0)],
    label=QuantityLabel(column="price", type="float64", mean=0, deviation=1),
    weights=[[100.0], [10.0]],
)
EXAMPLES = {"numbers": NUMBERS, "mixed": MIXED, "quantity": QUANTITY}


def program(weights: Any, output: str, *, softmax: bool, features: str = "features") -> bytes:
    """An ONNX program of one layer."""
    matrix = np.asarray(weights, dtype=np.float32)
    nodes = [helper.make_node("MatMul", [features, "weights"], ["products" if softmax else output])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["products"], [output], axis=1))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(features, TensorProto.FLOAT, [ROWS, matrix.shape[0]])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [ROWS, matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def content_of(example: ExampleModel, **fields: Any) -> ModelContent:
    classification = example.classes is not None
    output = TensorDescription(name="probabilities" if classification else "prediction", shape=[-1, len(example.weights[0])])
    spec = {"dataset": {"name": "data"}, "model": {"name": "data", "recipe": "linear"}}
    return ModelContent.model_validate(
        {
            "task": "classification" if classification else "regression",
            "recipe": "linear",
            "label": example.label.column,
            "classes": example.classes,
            "inputs": [TensorDescription(name="features", shape=[-1, len(example.weights)])],
            "outputs": [output],
            "formats": {"onnx": "model.onnx"},
            "metrics": {},
            "parameters": np.size(example.weights),
            "step": 1,
            "dataset": VersionReference(name="data", version=1, uri="store://datasets/data/1", digest="sha256:00"),
            "job": "job",
            "job_uid": "uid",
            "spec": spec,
        }
        | fields
    )


@dataclass(frozen=True)
class Shelf:
    """A folder store with model versions."""

    root: Path
    work: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"WINDLASS_STORE_URL": f"file://{self.root}"}

    @property
    def store(self) -> Store:
        return Store.open(NAMESPACE, self.environment)

    def publish(self, example: ExampleModel, owner: str = "uid-1", **replaced: Any) -> PublishedVersion:
        """A version of the model `penguins`; `replaced` are other bytes for its files, by field name, and content fields."""
        files = {
            "program": program(
                example.weights,
                "prediction" if example.classes is None else "probabilities",
                softmax=example.classes is not None,
            ),
            "transform": example.transform.to_json(),
        }
        files |= {name: replaced.pop(name) for name in list(replaced) if name in files}
        folder = self.work / owner
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(files["program"])
        (folder / TRANSFORM_FILE).write_bytes(files["transform"])
        registry = Registry(self.store, "models")
        version = registry.claim("penguins", owner)
        return registry.publish("penguins", version, owner=owner, folder=folder, content=content_of(example, **replaced))

    def spec(self, version: PublishedVersion, name: str = "service", engine: EngineName = "onnxruntime") -> InferServe:
        # By its name, so that no test waits until engines are measured but those of the choice.
        return InferServe(namespace=NAMESPACE, name=name, model=version.reference, engine=engine)


@pytest.fixture(scope="session")
def make_shelf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Shelf]:
    def make() -> Shelf:
        return Shelf(tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("work"))

    return make


@pytest.fixture
def shelf(make_shelf: Callable[[], Shelf]) -> Shelf:
    return make_shelf()


@pytest.fixture(scope="session")
def examples() -> dict[str, ExampleModel]:
    return EXAMPLES


@pytest.fixture(scope="session")
def onnx_program() -> Callable[..., bytes]:
    return program


@dataclass
class RunningServer:
    """The service as a process."""

    process: subprocess.Popen[bytes]
    url: str
    termination_log: Path
    log: Path
    spec: InferServe
    grpc_port: int | None = None

    @property
    def address(self) -> str:
        """Host and port, for HTTP."""
        return self.url.removeprefix("http://")

    @property
    def grpc_address(self) -> str:
        """Host and port, for gRPC."""
        return f"{LOOPBACK}:{self.grpc_port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, **options)

    @property
    def predict_path(self) -> str:
        return f"/v1/models/{self.spec.name}:predict"

    @property
    def infer_path(self) -> str:
        return f"/v2/models/{self.spec.name}/infer"

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def result(self) -> RunResult:
        return RunResult.model_validate_json(self.termination_log.read_bytes())


wait_until = partial(until, seconds=START_SECONDS)


@pytest.fixture(scope="session")
def wait() -> Callable[..., None]:
    return wait_until


@contextmanager
def served(
    spec: InferServe, environment: dict[str, str], folder: Path, *, grpc: bool = False, **variables: str
) -> Iterator[RunningServer]:
    port, grpc_port = free_port(), free_port() if grpc else None
    termination_log, log = folder / "termination-log", folder / "log"
    pod = {"WINDLASS_RUN_SPEC": spec.to_json_text(), "WINDLASS_TERMINATION_LOG": str(termination_log)}
    ports = ["--port", str(port), *(["--grpc-port", str(grpc_port)] if grpc else [])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            bound_to_us([sys.executable, "-m", "windlass_infer", "serve", *ports]),
            env=os.environ | environment | pod | variables,
            stdout=output,
            stderr=output,
        )
    try:
        yield RunningServer(process, f"http://{LOOPBACK}:{port}", termination_log, log, spec, grpc_port)
    finally:
        process.kill()
        process.wait()


def ready(server: RunningServer) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return httpx.get(f"{server.url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Starts a server; `until_ready` waits for it."""
    numbers = count()

    @contextmanager
    def start(
        spec: InferServe, environment: dict[str, str], *, until_ready: bool = True, **variables: str
    ) -> Iterator[RunningServer]:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        with served(spec, environment, folder, **variables) as server:
            if until_ready:
                wait_until(lambda: ready(server), "the server is ready")
            yield server

    return start


@pytest.fixture(scope="session")
def start_server() -> Callable[..., Any]:
    """Starts a ready server that several tests share."""

    @contextmanager
    def start(spec: InferServe, environment: dict[str, str], folder: Path, **variables: str) -> Iterator[RunningServer]:
        with served(spec, environment, folder, **variables) as server:
            wait_until(lambda: ready(server), "the server is ready")
            yield server

    return start


@pytest.fixture(scope="session")
def serve_example(make_shelf: Callable[[], Shelf], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Starts a ready server with both ports for an example."""

    @contextmanager
    def start(example: ExampleModel, **variables: str) -> Iterator[RunningServer]:
        shelf = make_shelf()
        spec = shelf.spec(shelf.publish(example))
        with served(spec, shelf.environment, tmp_path_factory.mktemp("server"), grpc=True, **variables) as server:
            wait_until(lambda: ready(server), "the server is ready")
            yield server

    return start


@pytest.fixture(scope="module", params=EXAMPLES)
def each_server(
    request: pytest.FixtureRequest, make_shelf: Callable[[], Shelf], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ExampleModel, RunningServer]]:
    """A ready server for each example."""
    shelf, example = make_shelf(), EXAMPLES[request.param]
    with served(shelf.spec(shelf.publish(example)), shelf.environment, tmp_path_factory.mktemp("server")) as server:
        wait_until(lambda: ready(server), "the server is ready")
        yield example, server


@pytest.fixture(scope="module")
def server(make_shelf: Callable[[], Shelf], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A ready server for the model of numbers."""
    shelf = make_shelf()
    with served(shelf.spec(shelf.publish(NUMBERS)), shelf.environment, tmp_path_factory.mktemp("server")) as running:
        wait_until(lambda: ready(running), "the server is ready")
        yield running


def tampered(path: Path) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="session")
def tamper() -> Callable[[Path], None]:
    return tampered
