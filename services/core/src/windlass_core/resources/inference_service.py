"""InferenceService: pods that answer with one version of a model, scaled to the load. Values only."""

from pydantic import ConfigDict, Field

from windlass_core.resources.common import (
    ComputeResources,
    Conditions,
    ModelVersionReference,
    ObjectName,
    ResourceModel,
    StatusModel,
    VersionNumber,
    rules,
)


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


class InferenceServiceSpec(ResourceModel):
    """What is served, and by how many pods."""

    model: ServedModel = Field(description="Which version of which model is served.")
    replicas: Replicas = Field(default_factory=Replicas, description="How many pods may run.")
    scale: Scale = Field(default_factory=Scale, description="When pods are added and taken away.")
    resources: ComputeResources = Field(default_factory=ComputeResources, description="CPU and memory of each pod.")


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
    replicas: ReplicaStatus | None = Field(default=None, description="Pods that are ready, and asked for.")
    selector: str | None = Field(default=None, description="Label selector of its pods, for autoscalers.")
    conditions: Conditions
