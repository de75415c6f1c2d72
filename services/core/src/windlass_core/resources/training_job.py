"""TrainingJob: one run that makes one version of a model out of one version of a Dataset. Values only."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from windlass_core.resources.common import (
    AcceleratedResources,
    Conditions,
    ModelVersionReference,
    ObjectName,
    ResourceModel,
    StatusModel,
    VersionNumber,
    rules,
)


class DatasetReference(ResourceModel):
    """The Dataset that a run learns from."""

    name: ObjectName = Field(description="Name of a Dataset in this namespace; the run waits until it is ready.")
    version: VersionNumber | None = Field(
        default=None, description="A fixed version; without it the newest when the run starts, noted in status."
    )


Width = Annotated[int, Field(ge=1, le=65536)]


class RecipeParameters(ResourceModel):
    """What a recipe can be told. Each has a default that suits small tabular data."""

    hidden: list[Width] | None = Field(
        default=None,
        description="mlp, cnn: widths of the hidden layers; by default [128, 64] for mlp and [64] for cnn.",
        max_length=16,
    )
    dropout: float | None = Field(
        default=None, description="mlp, cnn: share of hidden values dropped while training; by default 0.", ge=0, lt=1
    )
    channels: list[Width] | None = Field(
        default=None, description="cnn: channels of the convolutions; by default [16, 32].", max_length=8
    )
    image: list[Width] | None = Field(
        default=None,
        description="cnn: channels, height and width that the feature columns form; by default one channel and a square.",
        min_length=3,
        max_length=3,
    )
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="How weights are updated.")
    learning_rate: float | None = Field(
        default=None, description="Step size; by default 0.001 for adam and 0.01 for sgd.", gt=0, le=10
    )
    momentum: float | None = Field(default=None, description="sgd: share of the last update kept; by default 0.9.", ge=0, lt=1)
    weight_decay: float = Field(default=0.0, description="Strength of the pull of weights to zero.", ge=0, le=1)
    batch_size: int = Field(default=64, description="Rows of one update, over all workers together.", ge=1, le=1048576)
    clip_norm: float | None = Field(
        default=None, description="Largest norm of a gradient; larger ones are scaled down to it.", gt=0
    )
    seed: int = Field(default=0, description="Seed of initial weights and of the order of rows.", ge=0, le=2**31 - 1)


class TrainedModel(ResourceModel):
    """The model that a run makes a version of, and the recipe by which."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.parameters) || self.recipe in ['mlp', 'cnn'] || "
                "!(has(self.parameters.hidden) || has(self.parameters.dropout))",
                "parameters.hidden and parameters.dropout belong to the recipes mlp and cnn",
            ),
            (
                "!has(self.parameters) || self.recipe == 'cnn' || "
                "!(has(self.parameters.channels) || has(self.parameters.image))",
                "parameters.channels and parameters.image belong to the recipe cnn",
            ),
            (
                "!has(self.parameters) || !has(self.parameters.momentum) || self.parameters.optimizer == 'sgd'",
                "parameters.momentum belongs to optimizer sgd",
            ),
        )
    )

    name: ObjectName = Field(description="Name of the Model that gets the version; made when there is none.")
    recipe: Literal["linear", "logistic", "mlp", "cnn"] = Field(
        description="linear: linear regression; logistic: logistic regression; mlp: layers of neurons; cnn: convolutions over "
        "feature columns that form an image."
    )
    parameters: RecipeParameters = Field(default_factory=RecipeParameters, description="What the recipe is told.")


class Checkpoint(ResourceModel):
    """How often the run saves itself."""

    every: int = Field(
        default=100, description="Updates between two checkpoints; also saved at each stop.", ge=1, le=10_000_000
    )
    keep: int = Field(default=3, description="Newest checkpoints kept while the run lasts.", ge=1, le=100)


class Stop(ResourceModel):
    """When the run ends; whichever comes first."""

    epochs: int = Field(default=20, description="Passes over the training split.", ge=1, le=100_000)
    steps: int | None = Field(default=None, description="Updates of the weights.", ge=1)
    patience: int | None = Field(
        default=None,
        description="Epochs without a better validation loss after which the run ends with its best weights.",
        ge=1,
        le=1000,
    )
    deadline_seconds: int | None = Field(
        default=None,
        description="Seconds after the pods were first asked for, waiting for room included, at which the run fails with "
        "DeadlineExceeded.",
        ge=1,
        le=2**31 - 1,
    )


class Restarts(ResourceModel):
    """What a run may suffer before it is given up."""

    max: int = Field(
        default=3, description="Failures of pods, other than evictions, that the run recovers from.", ge=0, le=1000
    )


class Publish(ResourceModel):
    """What happens with the version when the run has made it."""

    alias: ObjectName | None = Field(default=None, description="Alias of the Model that is moved to the new version.")


class TrainingJobSpec(ResourceModel):
    """One run. It does not change once made; another run is another TrainingJob."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self == oldSelf", "a TrainingJob is one run and cannot be edited; make another one with another name"),
        )
    )

    dataset: DatasetReference = Field(description="The Dataset that the run learns from.")
    model: TrainedModel = Field(description="The model that it makes a version of.")
    workers: int = Field(default=1, description="Pods that train together, each with its share of every batch.", ge=1, le=1024)
    resources: AcceleratedResources = Field(
        default_factory=AcceleratedResources, description="CPU, memory and GPUs of each worker."
    )
    checkpoint: Checkpoint = Field(default_factory=Checkpoint, description="How often the run saves itself.")
    stop: Stop = Field(default_factory=Stop, description="When the run ends.")
    restarts: Restarts = Field(default_factory=Restarts, description="What the run may suffer before it is given up.")
    publish: Publish = Field(default_factory=Publish, description="What happens with the version.")


class TrainingProgress(StatusModel):
    """How far a run is."""

    step: int = Field(description="Updates done.")
    steps: int = Field(description="Updates in all, if no early stop comes.")
    epoch: int = Field(description="Passes over the training split done.")
    loss: str | None = Field(default=None, description="Loss on the training split, mean of the last updates.")
    samples_per_second: int | None = Field(default=None, description="Rows learned from per second, over all workers.")
    eta: str | None = Field(default=None, description="Time left, for example 1m30s.")


class Workers(StatusModel):
    """Pods of a run."""

    ready: int = Field(description="Workers that run.")
    total: int = Field(description="Workers asked for.")


class CheckpointStatus(StatusModel):
    """Newest checkpoint of a run."""

    step: int = Field(description="Updates done when it was saved.")
    at: datetime = Field(description="When it was committed.")


class TrainingJobStatus(StatusModel):
    """What became of a TrainingJob."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    started_at: datetime | None = Field(default=None, description="When the pods of the run were first asked for.")
    finished_at: datetime | None = Field(default=None, description="When the run ended, well or not.")
    attempt: int = Field(default=0, description="Number of the current try of the whole group of workers.")
    dataset_version: int | None = Field(default=None, description="Version of the Dataset that this run learns from.")
    dataset_digest: str | None = Field(default=None, description="sha256 of that version's manifest.")
    progress: TrainingProgress | None = Field(default=None, description="How far the run is.")
    workers: Workers | None = Field(default=None, description="Workers that run, of those asked for.")
    restarts: int = Field(default=0, description="Failures of pods that the run recovered from.")
    checkpoint: CheckpointStatus | None = Field(default=None, description="Newest checkpoint; a restart resumes there.")
    model: ModelVersionReference | None = Field(default=None, description="The version that the run made.")
    metrics: dict[str, str] | None = Field(
        default=None, description="Figures of the version on the test split, for example accuracy."
    )
    conditions: Conditions
