"""Model: the versions that runs made, and the aliases under which services follow them. Values only."""

from datetime import datetime

from pydantic import Field

from windlass_core.resources.common import Conditions, ObjectName, ResourceModel, StatusModel, VersionNumber


class Alias(ResourceModel):
    """A name that stands for a version, for example production."""

    name: ObjectName = Field(description="Name of the alias.")
    version: VersionNumber = Field(description="Version it stands for; editing it is promotion, and rollback.")


class ModelSpec(ResourceModel):
    """The aliases of a model."""

    aliases: list[Alias] = Field(
        default_factory=list,
        description="Names that stand for versions; services that follow an alias roll out when it moves.",
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


# Reason of an omitted format where the version's own answers are no finite numbers, so that it is left out of every engine.
ANSWERS_NOT_FINITE = "AnswersNotFinite"


class OmittedFormat(StatusModel):
    """A format that a version does not hold although its run tried to make it."""

    format: str = Field(description="Name of the format, for example onnx.", max_length=64)
    reason: str = Field(description="One stable CamelCase word that says why.", max_length=64)
    message: str = Field(description="What happened and what to do, in a sentence or two.", max_length=512)


class ModelVersion(StatusModel):
    """One version of the model."""

    version: int = Field(description="Number of the version.")
    uri: str = Field(description="Where it lies in the store.")
    digest: str = Field(description="sha256 of its manifest, which names the digest of every file.")
    bytes: int = Field(description="Size of all its files.")
    formats: list[str] = Field(
        default_factory=list,
        description="Programs it holds: safetensors, torch.export, onnx, onnx-int8, aot-inductor.",
        max_length=8,
    )
    omitted: list[OmittedFormat] | None = Field(
        default=None, description="Formats that could not be made, and why; unset where all were.", max_length=8
    )
    metrics: dict[str, str] = Field(default_factory=dict, description="Figures on the test split.")
    job: str = Field(description="TrainingJob that made it.")
    job_uid: str = Field(description="Unique id of that TrainingJob.")
    dataset: str = Field(description="Dataset it learned from.")
    dataset_version: int = Field(description="Version of that Dataset.")
    created_at: datetime = Field(description="When it was published.")


class AliasMove(StatusModel):
    """One move of an alias."""

    alias: str = Field(description="Name of the alias.")
    version: int | None = Field(default=None, description="Version it was moved to; unset when the alias was removed.")
    previous: int | None = Field(default=None, description="Version it stood for before; unset when it was new.")
    at: datetime = Field(description="When the move was seen.")


class ModelStatus(StatusModel):
    """What a Model holds."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    versions: list[ModelVersion] = Field(
        default_factory=list,
        description="All versions, newest first.",
        max_length=1000,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]},
    )
    latest_version: int | None = Field(default=None, description="Number of the newest version.")
    latest_metrics: str | None = Field(default=None, description="Figures of the newest version, in one line.")
    aliases: str | None = Field(default=None, description="The aliases in one line, as name=version.")
    history: list[AliasMove] = Field(default_factory=list, description="Moves of aliases, newest first.", max_length=20)
    conditions: Conditions
