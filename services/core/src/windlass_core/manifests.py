"""What the manifest of a version says: the last file written, and the only way to find the others.

A manifest is JSON; its sha256 is the digest of the version, and it holds the sha256 of every file, so one digest fixes all
bytes. Values only: `registry.py` writes and reads them.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from windlass_core.contracts import VersionReference
from windlass_core.resources.model import OmittedFormat

Task = Literal["classification", "regression"]
# Names of element types, as the Open Inference Protocol v2 has them.
TensorDatatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]

# Names of the arrays in the sample of a Model version, a numpy archive: the prefix and the name of the input or output.
SAMPLE_INPUT, SAMPLE_OUTPUT = "input:", "output:"


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
    # Not as the model of it, which refuses what it does not know: an older release must read the versions of a newer one.
    spec: dict[str, Any] = Field(description="The spec it was made by, as it stood in the object.")


class TensorDescription(ManifestModel):
    """One input or output of the exported program."""

    name: str
    datatype: TensorDatatype = "FP32"
    shape: list[int] = Field(
        description="Shape; the first is -1, the batch, and a further -1 a size that each request chooses."
    )
    minimum: float | None = Field(default=None, description="Smallest value that an input may have; checked on each request.")
    maximum: float | None = Field(
        default=None, description="Largest value, likewise: the last index of an embedding, for example."
    )


class ImageDescription(ManifestModel):
    """How a picture becomes the program's only input: (value / 255 - mean) / deviation, for each channel or for all alike."""

    mean: list[float] = Field(default=[0.0], min_length=1)
    deviation: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], min_length=1)


class ModelContent(ManifestModel):
    """What a Model version holds: a program, and for one that a TrainingJob made of a Dataset also what its tensors mean.

    A version without `task` and transform is a tensor version: it is served by its tensors alone.
    """

    task: Task | None = None
    recipe: str | None = None
    label: str | None = None
    classes: list[bool | int | str] | None = Field(default=None, description="Classes in the order of the probabilities.")
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    image: ImageDescription | None = Field(
        default=None,
        description="How pictures are scaled; by default to numbers from 0 to 1, where the input is one of pictures.",
    )
    formats: dict[str, str] = Field(description="Format to path: safetensors, torch.export, onnx, onnx-int8, aot-inductor.")
    omitted: list[OmittedFormat] = Field(default_factory=list, description="Formats that could not be made, and why.")
    sample: str | None = Field(
        default=None, description="Path of example inputs and of what eager torch answered to them, as SAMPLE_INPUT says."
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="Figures on the test split.")
    onnx_max_abs_difference: float | None = Field(
        default=None, description="Largest absolute difference between ONNX Runtime and torch on a sample of the data."
    )
    parameters: int = Field(ge=0, description="Number of trained weights.")
    step: int = Field(default=0, ge=0, description="Updates done.")
    dataset: VersionReference | None = Field(default=None, description="Dataset version that it learned from.")
    job: str | None = Field(default=None, description="TrainingJob that made it.")
    job_uid: str | None = None
    spec: dict[str, Any] | None = Field(
        default=None, description="The TrainingJob's spec; a map, so that later releases' stay readable."
    )
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
