"""What the manifest of a version says: the last file written, and the only way to find the others.

A manifest is JSON; its sha256 is the digest of the version, and it holds the sha256 of every file, so one digest fixes all
bytes. Values only: `registry.py` writes and reads them.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from windlass_core.contracts import VersionReference
from windlass_core.resources.dataset import DatasetSpec
from windlass_core.resources.model import OmittedFormat
from windlass_core.resources.training_job import TrainingJobSpec

Task = Literal["classification", "regression"]


class ManifestModel(BaseModel):
    """Base of everything in a manifest: camelCase, frozen, open to fields of later releases."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ManifestFile(ManifestModel):
    """One file of a version."""

    path: str = Field(description="Name inside the version, for example train/part-00000.parquet.")
    location: str = Field(description="Where its bytes lie, relative to the version's folder; differs from try to try.")
    sha256: str = Field(description="sha256:<hex> of its bytes.")
    bytes: int = Field(ge=0)


class ColumnDescription(ManifestModel):
    """One column of a Dataset version."""

    name: str
    type: Literal["int64", "float64", "bool", "string", "date", "timestamp"]
    nullable: bool = Field(description="Whether any row has no value there.")


class SplitDescription(ManifestModel):
    """One split of a Dataset version."""

    rows: int = Field(ge=0)
    files: list[str] = Field(description="Paths of its Parquet files, in order.")


class DatasetContent(ManifestModel):
    """What a Dataset version holds."""

    rows: int = Field(ge=1)
    columns: list[ColumnDescription]
    label: str | None = None
    task: Task | None = None
    classes: list[bool | int | str] | None = Field(default=None, description="Classes of the label, sorted, as in the data.")
    splits: dict[Literal["train", "validation", "test"], SplitDescription]
    source: list[str] = Field(description="Files it was made from, as store:// URIs.")
    source_digests: list[str] = Field(description="sha256:<hex> of those files, in the same order.")
    spec: DatasetSpec = Field(description="The spec it was made by.")


class TensorDescription(ManifestModel):
    """One input or output of the exported program."""

    name: str
    datatype: Literal["FP32"] = "FP32"
    shape: list[int] = Field(description="Shape; -1 stands for the batch.")


class ModelContent(ManifestModel):
    """What a Model version holds."""

    task: Task
    recipe: str
    label: str
    classes: list[bool | int | str] | None = Field(default=None, description="Classes in the order of the probabilities.")
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    formats: dict[str, str] = Field(description="Format to path: safetensors, torch.export, onnx.")
    omitted: list[OmittedFormat] = Field(default_factory=list, description="Formats that could not be made, and why.")
    metrics: dict[str, float] = Field(description="Figures on the test split.")
    onnx_max_abs_difference: float | None = Field(
        default=None, description="Largest absolute difference between ONNX Runtime and torch on a sample of the data."
    )
    parameters: int = Field(ge=0, description="Number of trained weights.")
    step: int = Field(ge=0, description="Updates done.")
    dataset: VersionReference
    job: str = Field(description="TrainingJob that made it.")
    job_uid: str
    spec: TrainingJobSpec
    made_with: dict[str, str] = Field(default_factory=dict, description="Versions of torch, onnx, onnxruntime and windlass.")


class Manifest(ManifestModel):
    """The manifest of a version; exactly one of `dataset` and `model` is set."""

    schema_version: Literal[1] = 1
    kind: Literal["datasets", "models"]
    name: str
    version: int = Field(ge=1)
    owner: str = Field(description="What the number was claimed for; the same owner never gets two versions.")
    created_at: datetime
    files: list[ManifestFile]
    dataset: DatasetContent | None = None
    model: ModelContent | None = None

    def file(self, path: str) -> ManifestFile | None:
        """The entry of the file `path`, or None."""
        return next((file for file in self.files if file.path == path), None)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)
