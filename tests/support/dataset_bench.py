"""A store in a folder, raw tables and a run of preprocess over them, for tests that look at what became of raw files."""

import io
import json
import random
import threading
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windlass_core.contracts import PreprocessRun, RunResult
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.run import ProgressBoard, RunContext
from windlass_core.store import Store
from windlass_preprocess.limits import MIB, Limits
from windlass_preprocess.pipeline import prepare
from windlass_preprocess.transform import TRANSFORM_FILE, Transform

LIMITS = Limits(memory_bytes=512 * MIB, threads=2)

# 200 rows with a column of each type, of which a quarter is sick.
PEOPLE = "age,colour,member,born,sick\n" + "".join(
    f"{20 + number % 50},{'red' if number % 3 else 'blue'},{'true' if number % 2 else 'false'},"
    f"1970-01-{1 + number % 28:02},{'yes' if number % 4 == 0 else 'no'}\n"
    for number in range(200)
)
HELD_OUT = {"validation": 0.1, "test": 0.2}


def numbers(rows: int) -> str:
    """A table of random numbers, the same for the same number of rows, with a label of three classes."""
    source = random.Random(3)  # noqa: S311
    lines = (
        f"{source.random()},{source.gauss(0, 1e6)},{source.randrange(5)},{'abc'[source.randrange(3)]}" for _ in range(rows)
    )
    return "a,b,c,y\n" + "\n".join(lines) + "\n"


def parquet(**columns: Any) -> bytes:
    """A Parquet file of these columns."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class Version:
    """A published Dataset version, as a reader of it sees it."""

    published: PublishedVersion

    @property
    def content(self) -> Any:
        return self.published.manifest.dataset

    @property
    def transform(self) -> Transform:
        return Transform.from_json(self.published.read(TRANSFORM_FILE))

    @property
    def profile(self) -> dict[str, Any]:
        profile = json.loads(self.published.read("profile.json"))
        return {column.pop("name"): column for column in profile["columns"]}

    def table(self, split: str) -> pa.Table:
        parts = [pq.read_table(io.BytesIO(self.published.read(path))) for path in self.content.splits[split].files]
        return pa.concat_tables(parts)

    def rows(self, split: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table(split).to_pylist()
        return rows

    def all_rows(self) -> list[dict[str, Any]]:
        return [row for split in ("train", "validation", "test") for row in self.rows(split)]

    def digests(self) -> dict[str, str]:
        return {file.path: file.sha256 for file in self.published.manifest.files}


@dataclass
class DatasetBench:
    """Uploads raw files and prepares Datasets of them."""

    store: Store
    limits: Limits = LIMITS
    context: RunContext = field(default_factory=lambda: RunContext(ProgressBoard(), threading.Event()))

    def upload(self, path: str, data: str | bytes) -> str:
        """Put a raw file; returns its URI."""
        self.store.write(f"raw/{path}", data.encode() if isinstance(data, str) else data)
        return f"store://raw/{path}"

    def run(self, uri: str, *, name: str = "data", wait_seconds: float = 0, **spec: Any) -> RunResult:
        """Prepare the Dataset `name` of the source at `uri`."""
        format_ = spec.pop("format", "auto")
        whole = {"source": {"uri": uri, "format": format_}, "split": {"validation": 0, "test": 0}} | spec
        run = PreprocessRun.model_validate({"namespace": "default", "name": name, "spec": whole})
        return prepare(run, self.context, self.store, self.limits, wait_seconds=wait_seconds)

    def prepare(self, uri: str, **spec: Any) -> Version:
        """As `run`, and open what was published."""
        result = self.run(uri, **spec)
        assert result.dataset is not None
        reference = result.dataset.version
        return Version(Registry(self.store, "datasets").open(reference.name, reference.version, reference.digest))

    def prepare_csv(self, text: str | bytes, **spec: Any) -> Version:
        """Upload `text` as data.csv and prepare it."""
        return self.prepare(self.upload("data.csv", text), **spec)
