"""InferenceService: pods that answer with one version of a model, scaled to the load. Values only."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from windlass_core.resources.common import (
    AcceleratedResources,
    Conditions,
    Duration,
    EnvironmentVariable,
    MemoryQuantity,
    ModelVersionReference,
    ObjectName,
    ResourceModel,
    StatusModel,
    VersionNumber,
    rules,
)

EngineName = Literal["auto", "onnxruntime", "openvino", "torch"]
# Variables that the operator and the images set; one of a user's would silently lose or break the pod.
_OWN_VARIABLES = "^(WINDLASS_.*|AWS_.*|HOME|HOSTNAME|PATH|PYTHONPATH|OMP_NUM_THREADS)$"


class ServedModel(ResourceModel):
    """Which version of which model is served."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.alias) != has(self.version)", "give exactly one of model.alias and model.version"),
        )
    )

    name: ObjectName = Field(description="Name of a Model in this namespace; the service waits until it exists.")
    alias: ObjectName | None = Field(
        default=None, description="Alias to follow; when it moves, the service rolls out the new version."
    )
    version: VersionNumber | None = Field(default=None, description="A fixed version.")


class Replicas(ResourceModel):
    """How many pods may run."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.min <= self.max", "replicas.min is larger than replicas.max, which is 3 where it is not given")
        ),
    )

    min: int = Field(default=1, description="Pods that always run.", ge=1, le=1000)
    max: int = Field(default=3, description="Pods that run at the most.", ge=1, le=1000)


class Scale(ResourceModel):
    """When pods are added and taken away."""

    target: int = Field(
        default=70, description="Use of the requested CPU, in percent, that the number of pods is held to.", ge=10, le=100
    )
    down_after_seconds: int = Field(default=300, description="Seconds of lower load before pods are taken away.", ge=0, le=3600)


class Objective(ResourceModel):
    """How fast answers should be."""

    p99: Duration = Field(
        description="Time in which 99 of 100 answers should come. Requests that cannot be answered within it, because too many "
        "wait, are refused at once with 429 and Retry-After; a request may name a time of its own."
    )


class Batch(ResourceModel):
    """How requests are computed together."""

    max: int = Field(
        description="Rows of the largest batch. What waits at the same time is computed together; a batch waits for more, "
        "and shortly, only where callers ask again as soon as they are answered and larger batches are cheaper.",
        ge=1,
        le=4096,
    )


class InferenceServiceSpec(ResourceModel):
    """What is served, and by how many pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.resources) || !has(self.resources.gpu) || self.engine in ['auto', 'torch']",
                "resources.gpu needs engine torch or auto: the other engines compute on CPUs",
            ),
            (
                f"!has(self.env) || self.env.all(e, !e.name.matches('{_OWN_VARIABLES}'))",
                "env may not set WINDLASS_*, AWS_*, HOME, HOSTNAME, PATH, PYTHONPATH or OMP_NUM_THREADS: Windlass sets them",
            ),
        )
    )

    model: ServedModel = Field(description="Which version of which model is served.")
    replicas: Replicas = Field(default_factory=Replicas, description="How many pods may run.")
    scale: Scale = Field(default_factory=Scale, description="When pods are added and taken away.")
    resources: AcceleratedResources = Field(
        default_factory=AcceleratedResources,
        description="CPU, memory and accelerators of each pod; it serves with one process for each whole core.",
    )
    engine: EngineName = Field(
        default="auto",
        description="What runs the model's program. auto measures what can run the version where the pod lands, and serves "
        "the fastest whose answers agree with torch.",
    )
    allowed_loss: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        default=None,
        description="How far answers may be from those in float32, as a share of the largest answer or of 1 if that is less. "
        "It lets auto try bf16 and int8; unset, answers differ by rounding only.",
    )
    slo: Objective | None = Field(default=None, description="How fast answers should be; unset, requests wait in the queue.")
    batch: Batch | None = Field(default=None, description="How requests are computed together.")
    cache: MemoryQuantity | None = Field(
        default=None,
        description="Memory in each process for answers to questions that come again, for example 64Mi; unset: none.",
    )
    env: list[EnvironmentVariable] = Field(
        default_factory=list,
        description="Variables for the server, for example OTEL_EXPORTER_OTLP_ENDPOINT to send traces there.",
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class ReplicaStatus(StatusModel):
    """Pods of a service."""

    ready: int = Field(default=0, description="Pods that answered a real inference and take requests.")
    updated: int = Field(default=0, description="Ready pods that serve the version named in status.model.")
    desired: int = Field(default=0, description="Pods asked for, by the autoscaler or replicas.min.")


class InferenceServiceStatus(StatusModel):
    """What an InferenceService does."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    url: str | None = Field(default=None, description="Where it answers inside the cluster.")
    model: ModelVersionReference | None = Field(default=None, description="The version that is asked for, with its digest.")
    engine: str | None = Field(
        default=None, description="What runs its program, for example onnxruntime or openvino-bf16; set when a pod has told."
    )
    revision: str | None = Field(
        default=None, description="Label windlass.dev/revision of the pods that serve what the spec asks for."
    )
    replicas: ReplicaStatus | None = Field(default=None, description="Pods that are ready, and asked for.")
    selector: str | None = Field(default=None, description="Label selector of its pods, for autoscalers.")
    conditions: Conditions
