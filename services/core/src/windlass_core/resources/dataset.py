"""Dataset: raw data, and how it becomes a fixed, typed, split version. Values only."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from windlass_core.resources.common import (
    PATTERN_MESSAGE,
    ComputeResources,
    Conditions,
    ResourceModel,
    StatusModel,
    rules,
)

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
ColumnNames = Annotated[list[ColumnName], Field(min_length=1, max_length=1024)]


class Source(ResourceModel):
    """Where the raw data lies."""

    uri: str = Field(
        description="A file, a folder (ends with /) or a glob in the store: store://raw/digits.csv means raw/digits.csv "
        "of this object's own namespace.",
        max_length=1024,
        pattern=r"^store://[^/]",
        json_schema_extra={
            PATTERN_MESSAGE: "a source begins with store://, for example store://raw/digits.csv for an uploaded digits.csv"
        },
    )
    format: Literal["auto", "csv", "json", "parquet"] = Field(
        default="auto",
        description="Format of the files; auto takes it from the file name (.csv, .json, .jsonl, .parquet, "
        "csv and json also with .gz). json is one object a line.",
    )


class Split(ResourceModel):
    """Which share of the rows is held out; what remains is for training."""

    validation: float = Field(default=0.1, description="Share of the rows for validation while training.", ge=0, le=0.5)
    test: float = Field(default=0.1, description="Share of the rows for the evaluation after training.", ge=0, le=0.5)
    seed: int = Field(
        default=0, description="Seed of the split; the same seed and data give the same split.", ge=0, le=2**31 - 1
    )


class DropStep(ResourceModel):
    """Leave columns out."""

    columns: ColumnNames = Field(description="Columns that no version holds.")


class ScaleStep(ResourceModel):
    """How numbers are scaled before they reach a model."""

    method: Literal["standard", "minMax", "none"] = Field(
        default="standard",
        description="standard: mean 0 and deviation 1; minMax: from 0 to 1; none: as they are. Fitted on the training split.",
    )
    columns: ColumnNames | None = Field(default=None, description="The columns meant; without it every numeric one.")


class EncodeStep(ResourceModel):
    """How categories become numbers."""

    method: Literal["oneHot", "ordinal"] = Field(
        default="oneHot", description="oneHot: one number a category; ordinal: its index in sorted order."
    )
    unknown: Literal["error", "ignore"] = Field(
        default="error",
        description="What a category that the Dataset version does not hold does at prediction: error refuses the row, ignore "
        "encodes it as none. The categories are those of all splits, not of the training split alone.",
    )
    columns: ColumnNames | None = Field(default=None, description="The columns meant; without it every categorical one.")


class Step(ResourceModel):
    """One step of preparation: exactly one of its fields is set."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "[has(self.drop), has(self.scale), has(self.encode)].exists_one(given, given)",
                "a step has exactly one of drop, scale and encode",
            )
        )
    )

    drop: DropStep | None = Field(default=None, description="Leave columns out.")
    scale: ScaleStep | None = Field(default=None, description="Scale numeric columns.")
    encode: EncodeStep | None = Field(default=None, description="Encode categorical columns.")


class DatasetSpec(ResourceModel):
    """What the data is and how it is prepared. Editing it makes a new version; old versions stay."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.split) || self.split.validation + self.split.test <= 0.8",
                "split.validation and split.test together leave less than a fifth of the rows for training; lower them",
            ),
            ("!has(self.task) || has(self.label)", "task says what the label is, so it needs label"),
        )
    )

    source: Source = Field(description="Where the raw data lies.")
    label: ColumnName | None = Field(default=None, description="The column that a model learns to predict.")
    task: Literal["classification", "regression"] | None = Field(
        default=None,
        description="What the label is. Without it text and booleans are classes; so are integers with at most 100 distinct "
        "values and on average at least 2 rows a value; other numbers are quantities.",
    )
    split: Split = Field(default_factory=Split, description="Which share of the rows is held out.")
    steps: list[Step] = Field(
        default_factory=list,
        description="Preparation, in order; a later step wins for a column. Without steps numbers are scaled to mean 0 and "
        "deviation 1 and categories are one-hot encoded.",
        max_length=64,
    )
    resources: ComputeResources = Field(
        default_factory=ComputeResources, description="CPU and memory of the pod that prepares the data."
    )


class Column(StatusModel):
    """One column of a version."""

    name: str = Field(description="Name of the column.")
    type: str = Field(description="Its type: int64, float64, bool, string, date or timestamp.")


class DatasetVersion(StatusModel):
    """One version that a run may name."""

    version: int = Field(description="Number of the version.")
    digest: str = Field(description="sha256 of its manifest.")


class DatasetProgress(StatusModel):
    """How far the preparation is."""

    phase: str = Field(description="What is being done, for example Reading or Writing.")
    rows: int = Field(default=0, description="Rows handled so far.")


class DatasetStatus(StatusModel):
    """What became of a Dataset."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    version: int | None = Field(default=None, description="Newest version that is whole.")
    uri: str | None = Field(default=None, description="Where that version lies in the store.")
    digest: str | None = Field(default=None, description="sha256 of that version's manifest.")
    rows: int | None = Field(default=None, description="Rows of that version, all splits together.")
    column_count: int | None = Field(default=None, description="Number of columns of that version.")
    columns: list[Column] = Field(
        default_factory=list, description="Its first columns; the manifest in the store lists all.", max_length=32
    )
    task: str | None = Field(default=None, description="classification, regression, or unset without a label.")
    versions: list[DatasetVersion] = Field(
        default_factory=list, description="Versions that runs may name, newest first.", max_length=100
    )
    attempt: int = Field(default=0, description="Number of the current try to prepare this generation.")
    progress: DatasetProgress | None = Field(default=None, description="How far a running preparation is.")
    conditions: Conditions
