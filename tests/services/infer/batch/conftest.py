"""Batch runs in this process and as processes, on a store in a folder and on a real S3 server."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from children import bound_to_us
from infer_models import small_models
from s3 import s3_environment as s3_environment
from s3 import s3_server as s3_server

from windlass_core.contracts import InferRun, InferServe, RunResult
from windlass_core.errors import NotFound
from windlass_core.registry import Registry
from windlass_core.run import ProgressBoard, RunContext
from windlass_core.store import Store
from windlass_infer.batch.parts import Predictions
from windlass_infer.batch.run import predict
from windlass_infer.loader import LoadedModel, load

NAMESPACE = "team"
OUTPUT = "predictions/out"


@dataclass
class Works:
    """A store with one small model of each make, and runs on it."""

    environment: Mapping[str, str]
    folder: Path
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store.open(NAMESPACE, self.environment)

    def publish(self, name: str) -> None:
        self.publish_as(name, name)

    def publish_as(self, small: str, name: str) -> None:
        files = self.folder / f"model-{name}"
        files.mkdir()
        small_models()[small].publish(self.store, name, files)

    def publish_again(self, name: str) -> None:
        """The same program as version 2."""
        registry, files = Registry(self.store, "models"), self.folder / f"model-{name}"
        version = registry.claim(name, "somebody else")
        registry.publish(name, version, owner="somebody else", folder=files, content=small_models()[name].content)

    def spec(self, name: str, uri: str, **fields: Any) -> InferRun:
        given = {"namespace": NAMESPACE, "model": {"name": name}, "input": {"uri": uri}, "output": f"store://{OUTPUT}"}
        # By its name, so that no test waits until engines are measured.
        return InferRun.model_validate(given | {"engine": "onnxruntime", "engines": 1} | fields)

    def run(self, spec: InferRun, stop: threading.Event | None = None) -> RunResult:
        return predict(spec, RunContext(ProgressBoard(), stop or threading.Event()), self.store)

    def loaded(self, model: str) -> LoadedModel:
        """The newest version, as a service loads it."""
        reference = Registry(self.store, "models").open(model, 1).reference
        spec = InferServe(namespace=NAMESPACE, name=model, model=reference, engine="onnxruntime")
        folder = self.folder / f"engine-{model}"
        folder.mkdir()
        return load(spec, self.store, folder)

    def start(self, spec: InferRun, log: Path, termination_log: Path, *options: str) -> "subprocess.Popen[bytes]":
        variables = {"WINDLASS_RUN_SPEC": spec.to_json_text(), "WINDLASS_TERMINATION_LOG": str(termination_log)}
        with log.open("ab") as output:
            return subprocess.Popen(
                bound_to_us([sys.executable, "-m", "windlass_infer", "run", "--port", "0", *options]),
                env=os.environ | dict(self.environment) | variables,
                stdout=output,
                stderr=output,
            )

    def parquet(self, path: str, table: pa.Table, **options: Any) -> str:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **options)
        return self.text(path, sink.getvalue().to_pybytes())

    def text(self, path: str, data: bytes | str) -> str:
        """Write a file; gives its URI."""
        self.store.write(path, data.encode() if isinstance(data, str) else data)
        return f"store://{path}"

    def manifest(self) -> Predictions:
        return Predictions.model_validate_json(self.store.read(f"{OUTPUT}/_manifest.json"))

    def table(self) -> dict[str, list[Any]]:
        """All predictions, in the order of the manifest's parts."""
        parts = [pq.read_table(pa.BufferReader(self.store.read(f"{OUTPUT}/{part.path}"))) for part in self.manifest().parts]
        return dict(pa.concat_tables([part.replace_schema_metadata() for part in parts]).to_pydict())

    def has_part(self, number: int) -> bool:
        """Whether so many parts of the first file, and one, are there; by one question, which a busy store answers at once."""
        try:
            self.store.head(f"{OUTPUT}/part-00000-{number:06}.parquet")
        except NotFound:
            return False
        return True

    def parts(self) -> int:
        """How many there are."""
        return sum(entry.path.endswith(".parquet") for entry in self.store.list(OUTPUT))

    def files(self) -> dict[str, bytes]:
        """All parts by path."""
        paths = sorted(entry.path for entry in self.store.list(OUTPUT))
        return {path: self.store.read(path) for path in paths if path.endswith(".parquet")}


@pytest.fixture
def make_works(tmp_path: Path) -> Callable[[Mapping[str, str]], Works]:
    return lambda environment: Works(environment, tmp_path)


@pytest.fixture
def works(tmp_path: Path, make_works: Callable[..., Works]) -> Works:
    """On a folder."""
    return make_works({"WINDLASS_STORE_URL": f"file://{tmp_path}/store"})


@pytest.fixture(params=["a folder", "S3"])
def any_works(request: pytest.FixtureRequest, tmp_path: Path, make_works: Callable[..., Works]) -> Works:
    """On each kind of store."""
    if request.param == "S3":
        return make_works(request.getfixturevalue("s3_environment"))
    return make_works({"WINDLASS_STORE_URL": f"file://{tmp_path}/store"})
