"""What the four kinds have in common: the strict base model, conditions, resource requests, names.

Knows nothing of a cluster: these are values. The chart's CRDs are generated from the kinds (see `windlass_core.crd`), so
every field carries the sentence that `kubectl explain` shows.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_GROUP = "windlass.dev"
API_VERSION = "v1alpha1"
API_GROUP_VERSION = f"{API_GROUP}/{API_VERSION}"

# Kubernetes names of children are "<prefix>-<name>-<suffix>" and must stay DNS labels (63 characters); pods of an Indexed
# Job append their index. 40 leaves room for all of ours.
NAME_MAX_LENGTH = 40
# JSON schema keyword beside a pattern: what a user reads, instead of the pattern, when a value does not match it.
PATTERN_MESSAGE = "x-windlass-pattern-message"
# JSON schema keyword of a field that takes `2` and `"500m"` alike.
INT_OR_STRING = "x-kubernetes-int-or-string"


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """JSON schema extra that carries CEL rules: pairs of (rule, message for the user)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def _quantity_text(value: Any) -> Any:
    """`cpu: 2` in YAML is a number; a bool is one too in Python, and no quantity."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=NAME_MAX_LENGTH,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        json_schema_extra={
            PATTERN_MESSAGE: "a name has small letters, digits and hyphens, and begins and ends with a letter or a digit"
        },
    ),
]
VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
# What Kubernetes accepts as quantities, but for those that nobody means: 512m of memory is half a byte, and 2Gi of cpu are more
# cores than there are.
CpuQuantity = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?m?$",
        json_schema_extra={INT_OR_STRING: True, PATTERN_MESSAGE: 'cpu is a number of cores, for example 2, "0.5" or 500m'},
    ),
    BeforeValidator(_quantity_text),  # last: constraints after it would not reach the schema
]
MemoryQuantity = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
        json_schema_extra={
            INT_OR_STRING: True,
            PATTERN_MESSAGE: "memory is a number of bytes with a unit k, M, G, T, Ki, Mi, Gi or Ti, for example 512Mi or 4Gi",
        },
    ),
    BeforeValidator(_quantity_text),
]

# A time long enough to matter and short enough to wait for.
Duration = Annotated[
    str,
    Field(
        max_length=16,
        pattern=r"^[1-9][0-9]{0,6}(ms|s|m)$",
        json_schema_extra={PATTERN_MESSAGE: "a duration is a whole number with its unit, for example 50ms, 2s or 5m"},
    ),
]
_DURATION_UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0))


def duration_seconds(duration: Duration) -> float:
    """A duration in seconds."""
    unit, seconds = next((unit, seconds) for unit, seconds in _DURATION_UNITS if duration.endswith(unit))
    return int(duration.removesuffix(unit)) * seconds


class ResourceModel(BaseModel):
    """Base of everything that stands in a Windlass object: camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """The object as Kubernetes holds it: camelCase keys, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ResourceModel):
    """Base of status models: a newer operator may have written more than this version knows."""

    model_config = ConfigDict(extra="ignore")


class Condition(StatusModel):
    """One condition, by the Kubernetes API conventions."""

    type: str = Field(description="Name of the condition, for example Ready or Succeeded.", max_length=64)
    status: Literal["True", "False", "Unknown"] = Field(description="True, False, or Unknown while it is not decided.")
    reason: str = Field(description="One stable CamelCase word that says why; programs may rely on it.", max_length=64)
    message: str = Field(default="", description="A sentence for people: what happened and what to do.", max_length=2048)
    last_transition_time: datetime = Field(description="When the status of this condition last changed.")
    observed_generation: int = Field(description="Generation of the spec that this condition speaks of.", ge=0)


Conditions = Annotated[
    list[Condition],
    Field(
        default_factory=list,
        description="What is true of the object, one entry a type.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class Gpu(ResourceModel):
    """Accelerators for each pod."""

    count: int = Field(description="Number of NVIDIA GPUs for each pod.", ge=1, le=64)


class ComputeResources(ResourceModel):
    """CPU and memory for each pod."""

    cpu: CpuQuantity | None = Field(default=None, description="CPU for each pod, for example 500m or 2.")
    memory: MemoryQuantity | None = Field(
        default=None, description="Memory for each pod, for example 512Mi; also the limit beyond which the pod is ended."
    )


class AcceleratedResources(ComputeResources):
    """CPU, memory and accelerators for each pod."""

    gpu: Gpu | None = Field(default=None, description="Accelerators for each pod; without it the pod computes on CPUs.")


class EnvironmentVariable(ResourceModel):
    """One variable of the environment of a container."""

    name: str = Field(
        description="Name of the variable.",
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        json_schema_extra={PATTERN_MESSAGE: "a variable has letters, digits and underscores, and begins with no digit"},
    )
    value: str = Field(default="", description="Its value; a password belongs in a Secret, not here.", max_length=4096)


class ModelVersionReference(StatusModel):
    """One version of a model, as status objects name it."""

    name: str = Field(description="Name of the Model.")
    version: int = Field(description="Number of the version.")
    digest: str = Field(default="", description="sha256 of the version's manifest, which names the digest of every file.")
