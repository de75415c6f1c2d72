"""What a pydantic model cannot say of a kind: its names, what `kubectl get` shows, and the rules on the object's own name.

Short names begin with w, so that they collide with no other project's. A column takes a condition by its type, never by its
place in the list. Columns of the wide view hold what is long or rarely asked for. Values only.
"""

from dataclasses import dataclass

from pydantic import BaseModel

from windlass_core.resources import (
    DatasetSpec,
    DatasetStatus,
    InferenceServiceSpec,
    InferenceServiceStatus,
    ModelSpec,
    ModelStatus,
    TrainingJobSpec,
    TrainingJobStatus,
)
from windlass_core.resources.common import NAME_MAX_LENGTH


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; a wide one stands only under `-o wide`."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True)
class Scale:
    """Where `kubectl scale` and autoscalers find the number of pods and how to select them."""

    spec_replicas: str
    status_replicas: str
    label_selector: str


@dataclass(frozen=True)
class Rule:
    """A CEL rule on the whole object, and the sentence that a user gets when it does not hold."""

    rule: str
    message: str


@dataclass(frozen=True)
class Kind:
    """All that makes a CRD out of a spec and a status."""

    name: str
    plural: str
    short_name: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    scale: Scale | None = None

    @property
    def singular(self) -> str:
        """The name in lower case, as kubectl takes it."""
        return self.name.lower()


def _summary(condition: str, meaning: str) -> tuple[Column, ...]:
    """The condition that sums an object up, and why it stands as it does."""
    of_type = f'.status.conditions[?(@.type=="{condition}")]'
    return (
        Column(condition, f"{of_type}.status", meaning),
        Column("State", f"{of_type}.reason", "Why: one stable word."),
    )


def _message(condition: str) -> Column:
    path = f'.status.conditions[?(@.type=="{condition}")].message'
    return Column("Message", path, "Why, as a sentence: what happened and what to do.", wide=True)


_AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was created.", "date")

_NAME_RULE = Rule(
    f"size(self.metadata.name) <= {NAME_MAX_LENGTH} && !self.metadata.name.contains('.')",
    f"metadata.name has at most {NAME_MAX_LENGTH} characters and no dot, because names of pods are built from it",
)
_SERVICE_NAME_RULE = Rule(
    "self.metadata.name.matches('^[a-z]')",
    "metadata.name begins with a letter, because the Service that answers has the same name",
)

DATASET = Kind(
    name="Dataset",
    plural="datasets",
    short_name="wds",
    description="Dataset turns raw data of the store into fixed, typed, split versions that TrainingJobs learn from.",
    spec=DatasetSpec,
    status=DatasetStatus,
    columns=(
        *_summary("Ready", "Whether a version of the current spec is there."),
        Column("Version", ".status.version", "Newest version that is whole.", "integer"),
        Column("Rows", ".status.rows", "Rows of that version.", "integer"),
        Column("Columns", ".status.columnCount", "Columns of that version.", "integer"),
        _AGE,
        Column("Source", ".spec.source.uri", "Where the raw data lies.", wide=True),
        Column("Label", ".spec.label", "The column that models learn to predict.", wide=True),
        Column("Task", ".status.task", "What the label is.", wide=True),
        Column("Digest", ".status.digest", "sha256 of the version's manifest.", wide=True),
        _message("Ready"),
    ),
    rules=(_NAME_RULE,),
)

TRAINING_JOB = Kind(
    name="TrainingJob",
    plural="trainingjobs",
    short_name="wtj",
    description="TrainingJob is one run that makes one version of a model out of one version of a Dataset.",
    spec=TrainingJobSpec,
    status=TrainingJobStatus,
    columns=(
        *_summary("Succeeded", "True when it has published its version, False when it failed, else Unknown."),
        Column("Step", ".status.progress.step", "Updates done.", "integer"),
        Column("Steps", ".status.progress.steps", "Updates in all.", "integer"),
        Column("Loss", ".status.progress.loss", "Loss on the training split."),
        Column("ETA", ".status.progress.eta", "Time left."),
        Column("Workers", ".status.workers.ready", "Workers that run.", "integer"),
        Column("Version", ".status.model.version", "Version of the model that it made.", "integer"),
        _AGE,
        Column("Dataset", ".spec.dataset.name", "The Dataset that it learns from.", wide=True),
        Column("Model", ".spec.model.name", "The model that it makes a version of.", wide=True),
        Column("Recipe", ".spec.model.recipe", "How it learns.", wide=True),
        Column("Restarts", ".status.restarts", "Failures of pods that it recovered from.", "integer", wide=True),
        Column("Metrics", ".status.metrics", "Figures of the version on the test split.", wide=True),
        _message("Succeeded"),
    ),
    rules=(_NAME_RULE,),
)

MODEL = Kind(
    name="Model",
    plural="models",
    short_name="wm",
    description="Model lists the versions that TrainingJobs made, and the aliases under which InferenceServices follow them.",
    spec=ModelSpec,
    status=ModelStatus,
    columns=(
        *_summary("Ready", "Whether it has a version and every alias stands for one that exists."),
        Column("Latest", ".status.latestVersion", "Newest version.", "integer"),
        Column("Aliases", ".status.aliases", "Which version each alias stands for."),
        Column("Metrics", ".status.latestMetrics", "Figures of the newest version on the test split."),
        _AGE,
        _message("Ready"),
    ),
    rules=(_NAME_RULE,),
)

INFERENCE_SERVICE = Kind(
    name="InferenceService",
    plural="inferenceservices",
    short_name="wisvc",
    description="InferenceService keeps pods that answer with one version of a model, scaled to the load.",
    spec=InferenceServiceSpec,
    status=InferenceServiceStatus,
    columns=(
        *_summary("Ready", "Whether pods of the wanted version answered a real inference."),
        Column("Version", ".status.model.version", "Version of the model that is asked for.", "integer"),
        Column("Pods", ".status.replicas.ready", "Pods that take requests.", "integer"),
        Column("Desired", ".status.replicas.desired", "Pods asked for.", "integer"),
        Column("URL", ".status.url", "Where it answers inside the cluster."),
        _AGE,
        Column("Model", ".spec.model.name", "The Model that it serves.", wide=True),
        Column("Alias", ".spec.model.alias", "The alias that it follows.", wide=True),
        Column("Engine", ".status.engine", "What runs the model's program.", wide=True),
        Column("Min", ".spec.replicas.min", "Pods that always run.", "integer", wide=True),
        Column("Max", ".spec.replicas.max", "Pods that run at the most.", "integer", wide=True),
        _message("Ready"),
    ),
    rules=(_NAME_RULE, _SERVICE_NAME_RULE),
    scale=Scale(".spec.replicas.min", ".status.replicas.ready", ".status.selector"),
)

KINDS = (DATASET, TRAINING_JOB, MODEL, INFERENCE_SERVICE)
