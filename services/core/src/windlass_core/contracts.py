"""What passes between the operator and the pods it makes: RunSpec in, Progress while it runs, RunResult at the end.

Operator and pods are released apart, so everything here is versioned by `api_version`, every field added later is optional,
and unknown fields are ignored by both sides. Only a `spec` is taken whole or not at all: a pod that left out what it does not
know would do something else than was asked. Knows no cluster and no store.

RunSpec    JSON in the variable WINDLASS_RUN_SPEC of the pod.
Progress   JSON under GET /progress of a running pod, port RUN_PORT; the operator pulls it.
RunResult  JSON in the container's termination message, at most TERMINATION_MESSAGE_BYTES.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from windlass_core.pod import RENDEZVOUS_PORT as RENDEZVOUS_PORT
from windlass_core.pod import RUN_PORT as RUN_PORT
from windlass_core.pod import RUN_SPEC_VARIABLE as RUN_SPEC_VARIABLE
from windlass_core.pod import TERMINATION_LOG_PATH as TERMINATION_LOG_PATH
from windlass_core.pod import TERMINATION_LOG_VARIABLE as TERMINATION_LOG_VARIABLE
from windlass_core.pod import TERMINATION_MESSAGE_BYTES as TERMINATION_MESSAGE_BYTES
from windlass_core.resources.common import API_GROUP_VERSION
from windlass_core.resources.dataset import DatasetSpec, Source
from windlass_core.resources.inference_service import EngineName as EngineName  # what reads a spec takes it from here
from windlass_core.resources.model import OmittedFormat
from windlass_core.resources.training_job import TrainingJobSpec

PEER_LOST = "PeerLost"  # reason of a worker that ended because another one had: that one's reason tells more


class Contract(BaseModel):
    """Base of all contracts: camelCase on the wire, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    api_version: str = API_GROUP_VERSION

    def to_json_text(self) -> str:
        """Compact JSON without what is unset."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


class VersionReference(BaseModel):
    """A version of a Dataset or Model in the store."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: int
    uri: str = Field(description="store://datasets/<name>/<version> or store://models/<name>/<version>")
    digest: str = Field(description="sha256:<hex> of its manifest.json")


class PreprocessRun(Contract):
    """Prepare one generation of a Dataset."""

    kind: Literal["preprocess"] = "preprocess"
    namespace: str
    name: str = Field(description="Name of the Dataset.")
    spec: DatasetSpec


class TrainRun(Contract):
    """Train one TrainingJob, as one worker pod of `spec.workers`."""

    kind: Literal["train"] = "train"
    namespace: str
    name: str = Field(description="Name of the TrainingJob.")
    uid: str = Field(description="Unique id of the TrainingJob; names its folder of checkpoints and its claim on a version.")
    dataset: VersionReference
    spec: TrainingJobSpec
    rendezvous_host: str = Field(description="DNS name of the pod with index 0.")
    attempt: int = Field(default=1, description="Number of this try of the whole group; pods of different tries never meet.")


class InferServe(Contract):
    """Serve one version of a model until told to stop."""

    kind: Literal["infer"] = "infer"
    namespace: str
    name: str = Field(description="Name of the InferenceService; the model answers under this name.")
    model: VersionReference
    engine: EngineName = Field(default="auto", description="What runs the program; auto: the fastest that agrees with torch.")
    loss: float | None = Field(
        default=None,
        gt=0,
        description="How far answers may be from float32, as a share of the largest answer or of 1 if that is less; unset: by "
        "rounding only.",
    )
    slo_p99_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Time in which 99 of 100 answers should come. A request that names no time of its own is refused when it "
        "cannot be answered within it. Unset: requests wait however long the queue is.",
    )
    max_batch_rows: int | None = Field(default=None, ge=1, description="Rows of the largest batch; unset: the service's own.")
    cache_bytes: int = Field(default=0, ge=0, description="Memory for answers to questions that are asked again; 0: none.")
    processes: int | None = Field(default=None, ge=1, description="Serving processes; unset: one for each core of the pod.")


class NewestVersion(BaseModel):
    """A version by its name: of that number and digest where they are given, else the newest that is whole."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: int | None = Field(default=None, ge=1)
    digest: str | None = Field(default=None, description="sha256:<hex> that its manifest must have.")


class DatasetInput(BaseModel):
    """Rows of a Dataset version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: NewestVersion
    split: Literal["train", "validation", "test", "all"] = "test"


class InferRun(Contract):
    """Predict for every row of a Dataset version or of raw files, once, into Parquet files."""

    kind: Literal["predict"] = "predict"
    namespace: str
    model: NewestVersion
    input: DatasetInput | Source = Field(
        description="Rows of a Dataset version, or raw files as a Dataset's source names them."
    )
    output: str = Field(description="store:// URI of a folder for this run alone; a run that ended early goes on in it.")
    keep: list[str] = Field(default_factory=list, description="Columns of the input to write beside the predictions.")
    columns: list[str] = Field(
        default_factory=list,
        description="Columns that make up, in this order, the only input of a tensor version of shape [rows, columns].",
    )
    engine: EngineName = Field(default="auto", description="As of InferServe.")
    loss: float | None = Field(default=None, gt=0, description="As of InferServe.")
    max_batch_rows: int | None = Field(default=None, ge=1, description="Rows that the engine is given at once.")
    partition_rows: int | None = Field(default=None, ge=1, description="Rows of a part of the output; unset: by their size.")
    engines: int | None = Field(default=None, ge=1, description="Engines that run at once; unset: one a core.")


RunSpec = Annotated[PreprocessRun | TrainRun | InferServe | InferRun, Field(discriminator="kind")]
RUN_SPEC: TypeAdapter[PreprocessRun | TrainRun | InferServe | InferRun] = TypeAdapter(RunSpec)


class Checkpointed(BaseModel):
    """Newest committed checkpoint."""

    model_config = ConfigDict(frozen=True)

    step: int
    at: datetime


class Progress(Contract):
    """How far a run is; every pod of a group tells the same."""

    phase: str = Field(
        description="A CamelCase word: WaitingForSource, Reading, Fitting, Writing, Loading, Training, Evaluating, Publishing, "
        "WaitingForStore, Serving, Predicting."
    )
    message: str = Field(default="", description="A sentence for people, where the phase alone does not tell.")
    rows: int | None = Field(default=None, description="preprocess, predict: rows handled.")
    step: int | None = Field(default=None, description="train: updates done.")
    steps: int | None = Field(default=None, description="train: updates in all.")
    epoch: int | None = None
    loss: float | None = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint: Checkpointed | None = None
    engine: str | None = Field(default=None, description="infer: what runs the model's program, for example openvino-bf16.")
    at: datetime


class ColumnType(BaseModel):
    """One column of a Dataset version."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str


class DatasetResult(BaseModel):
    """The Dataset version that a run made, or found made already."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    version: VersionReference
    rows: int
    column_count: int
    columns: list[ColumnType] = Field(default_factory=list, description="As many as fit.")
    task: str | None = None


class ModelResult(BaseModel):
    """The Model version that a run made, or found made already."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    version: VersionReference
    bytes: int
    formats: list[str]
    omitted: list[OmittedFormat] = Field(default_factory=list, description="Formats that could not be made, and why.")
    metrics: dict[str, float]
    step: int
    created_at: datetime


class PredictionsResult(BaseModel):
    """The predictions that a run made, or found made already."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: str = Field(description="store:// URI of their folder.")
    digest: str = Field(description="sha256:<hex> of its _manifest.json")
    model: VersionReference
    rows: int
    parts: int


class RunResult(Contract):
    """How a run ended."""

    outcome: Literal["Succeeded", "Failed", "Stopped"]
    reason: str = Field(description="Stable CamelCase word; becomes the reason of the object's condition.")
    message: str = Field(default="", description="A sentence for people: what happened, where, what to do.")
    dataset: DatasetResult | None = None
    model: ModelResult | None = None
    predictions: PredictionsResult | None = None

    def to_termination_message(self) -> str:
        """The result within the kubelet's limit: columns that do not fit are left off, then the message is cut.

        Returns:
            JSON of at most TERMINATION_MESSAGE_BYTES bytes of UTF-8.
        """
        result = self
        while result.dataset and result.dataset.columns and _size(result) > TERMINATION_MESSAGE_BYTES:
            shorter = result.dataset.model_copy(update={"columns": result.dataset.columns[:-1]})
            result = result.model_copy(update={"dataset": shorter})
        while result.message and _size(result) > TERMINATION_MESSAGE_BYTES:
            # An eighth at a time: JSON escapes and UTF-8 make the bytes of a cut hard to foresee.
            result = result.model_copy(update={"message": result.message[: len(result.message) * 7 // 8]})
        return result.to_json_text()


def _size(result: RunResult) -> int:
    return len(result.to_json_text().encode())
