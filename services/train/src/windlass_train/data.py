"""The splits of a Dataset version as tensors: read from Parquet, checked by digest, encoded by the version's fitted transform.

Every worker holds all rows of all splits as float32, so any of them can take any row of any batch; the raw files are read a
part at a time and not kept. Knows no recipe and no group.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from windlass_core.contracts import VersionReference
from windlass_core.errors import BadConfiguration, BadData
from windlass_core.manifests import DatasetContent
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.store import Store
from windlass_preprocess.transform import TRANSFORM_FILE, ClassLabel, Transform
from windlass_train.recipes.problem import Problem
from windlass_train.sampler import Indices

# Rows of a Parquet file that are decoded at once: bounds the memory beside the float32 result.
READ_ROWS = 65536


@dataclass(frozen=True)
class SplitData:
    """One split on the CPU.

    Attributes:
        features: float32 [rows, features].
        targets: int64 [rows] class numbers, or float32 [rows] quantities in deviations from their mean.
    """

    features: Tensor
    targets: Tensor

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.targets)

    def take(self, rows: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
        """Features and targets of some rows, on a device."""
        index = torch.from_numpy(rows)
        return self.features[index].to(device), self.targets[index].to(device)


@dataclass(frozen=True)
class Data:
    """A Dataset version, ready to be learned from.

    Attributes:
        validation: None where the split has no rows; likewise `test`.
        transform: as fitted; travels into the Model version.
        classes: of the label, in the order of their numbers; None for regression.
    """

    problem: Problem
    train: SplitData
    validation: SplitData | None
    test: SplitData | None
    transform: Transform

    @property
    def classes(self) -> list[bool | int | str] | None:
        """Classes of the label as they stand in the data, in the order of their numbers; None for regression."""
        return self.transform.label.classes if isinstance(self.transform.label, ClassLabel) else None


def load(store: Store, reference: VersionReference) -> Data:
    """Read a Dataset version.

    Raises:
        BadConfiguration: the Dataset has no label.
        BadData: a file is not what the manifest says, or a split for training has no rows.
        DigestMismatch: the version in the store is not the one that was asked for.
        NotFound: there is no such version.
    """
    version = Registry(store, "datasets").open(reference.name, reference.version, reference.digest)
    content = version.manifest.dataset
    if content is None:
        raise BadData(f"{reference.uri} is not a Dataset version")
    transform = _transform(version)
    problem = _problem(reference, transform)
    splits = {name: _split(version, content, name, transform, problem) for name in ("train", "validation", "test")}
    train = splits["train"]
    if train is None:
        raise BadData(
            f"the training split of {reference.uri} has no rows; lower split.validation and split.test in the Dataset"
        )
    return Data(problem=problem, train=train, validation=splits["validation"], test=splits["test"], transform=transform)


def _transform(version: PublishedVersion) -> Transform:
    try:
        return Transform.from_json(version.read(TRANSFORM_FILE))
    except ValidationError as error:
        raise BadData(f"{TRANSFORM_FILE} of {version.reference.uri} cannot be read by this release") from error


def _problem(reference: VersionReference, transform: Transform) -> Problem:
    label = transform.label
    if label is None:
        raise BadConfiguration(
            f"Dataset '{reference.name}' has no label, so there is nothing to learn: set label in its spec", reason="NoLabel"
        )
    features = transform.feature_count
    if isinstance(label, ClassLabel):
        return Problem("classification", label.column, features, classes=len(label.classes))
    return Problem("regression", label.column, features, offset=label.mean, scale=label.deviation)


def _split(
    version: PublishedVersion, content: DatasetContent, name: Any, transform: Transform, problem: Problem
) -> SplitData | None:
    split = content.splits.get(name)
    if split is None or split.rows == 0:
        return None
    features = np.empty((split.rows, problem.features), dtype=np.float32)
    targets = np.empty(split.rows, dtype=np.int64 if problem.classes else np.float32)
    end = 0
    for table in _tables(version, split.files):
        start, end = end, end + table.num_rows
        if end > split.rows:
            break
        columns = {column: table.column(column).to_numpy() for column in table.column_names}
        features[start:end] = transform.apply_columns(columns)
        targets[start:end] = _targets(transform, problem, columns)
    if end != split.rows:
        raise BadData(f"the {name} split of {version.reference.uri} should have {split.rows} rows, but its files have others")
    return SplitData(torch.from_numpy(features), torch.from_numpy(targets))


def _tables(version: PublishedVersion, files: list[str]) -> Iterator[pyarrow.Table]:
    """The rows of Parquet files in order, a bounded number at a time."""
    with tempfile.TemporaryDirectory(prefix="windlass-data-") as folder:
        for file in files:
            local = version.download(file, Path(folder) / "part.parquet")
            try:
                with pyarrow.parquet.ParquetFile(local) as parquet:
                    for batch in parquet.iter_batches(batch_size=READ_ROWS):
                        yield pyarrow.Table.from_batches([batch])
            except pyarrow.ArrowInvalid as error:
                raise BadData(f"{file} of {version.reference.uri} is not a Parquet file: {error}") from error
            local.unlink()


def _targets(transform: Transform, problem: Problem, columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    assert transform.label is not None  # noqa: S101  (checked when the problem was made)
    if problem.label not in columns:
        raise BadData(f"the column '{problem.label}', which is the label, is missing in a file of the Dataset version")
    encoded = transform.label.encode(columns[problem.label])
    if problem.classes:
        return encoded
    return (encoded.astype(np.float64) - problem.offset) / problem.scale
