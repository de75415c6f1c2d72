"""Shapes of the answers that describe the server and its model; what a prediction looks like is in `openapi.py`."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Answer(BaseModel):
    """Base of our own answers: camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ColumnAnswer(Answer):
    """One column that a row has."""

    name: str
    type: str = Field(description="int64, float64, bool, string, date or timestamp.")
    categories: list[bool | int | str] | None = Field(
        default=None, description="What a category may be, for a column of categories."
    )


class TensorMetadata(BaseModel):
    """V2: one input or output."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 stands for the rows.")


class ModelAnswer(Answer):
    """The model that is served."""

    name: str = Field(description="Name that it answers under: that of the InferenceService.")
    ready: bool
    model: str = Field(description="Name of the Model.")
    version: int
    digest: str = Field(description="sha256 of the version's manifest.")
    engine: str | None = Field(default=None, description="What runs the program, for example openvino-bf16.")
    engines: dict[str, str] | None = Field(default=None, description="For each engine why it serves, or why it does not.")
    compared_with: str | None = Field(
        default=None, description="What the engine's answers were compared with; missing where there was nothing."
    )
    failures: dict[str, str] | None = Field(default=None, description="Versions that could not be loaded, and why.")
    task: str | None = Field(default=None, description="classification or regression; missing until the version is loaded.")
    label: str | None = Field(default=None, description="The column that is predicted.")
    classes: list[bool | int | str] | None = None
    columns: list[ColumnAnswer] | None = Field(default=None, description="What a row has, in this order when it is a list.")
    inputs: list[TensorMetadata] | None = Field(default=None, description="What a row has, for a model of tensors.")
    outputs: list[TensorMetadata] | None = Field(default=None, description="What it answers, for a model of tensors.")


class IndexAnswer(BaseModel):
    """V2: one version in the repository's index."""

    name: str
    version: str
    state: str = Field(description="READY, LOADING or UNAVAILABLE.")
    reason: str = Field(description="Why it is not there; empty when it is.")


class Live(BaseModel):
    """V2: whether the process lives."""

    live: bool


class Ready(BaseModel):
    """V2: whether inference can be asked for."""

    ready: bool


class ModelReady(BaseModel):
    """V2: whether this model can be asked."""

    name: str
    ready: bool


class ServerMetadata(BaseModel):
    """V2: what the server is."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    """V2: what the model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
