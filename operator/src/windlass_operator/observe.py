"""Reads what a planner needs to see: the object, what it refers to, and its children. Reads nothing that cannot matter.

Everything is read from the API server when a key is worked on, so no decision rests on an old copy; what does not depend on one
another is read at the same time.
"""

import asyncio
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

from windlass_core.resources import InferenceServiceSpec, TrainingJobSpec, TrainingJobStatus
from windlass_operator import jobs, manifests, pods
from windlass_operator.api import DATASET, EVENT, JOB, MODEL, POD, SERVICE, Cluster, Kind, Manifest
from windlass_operator.dataset.plan import SeenDataset, wanted_job
from windlass_operator.inference.plan import CHILD_KINDS, SeenInferenceService
from windlass_operator.model.plan import SeenModel
from windlass_operator.plan import Parent
from windlass_operator.pods import Pod
from windlass_operator.training import manifests as training
from windlass_operator.training.plan import SeenTrainingJob, is_finished, published


async def observe_dataset(cluster: Cluster, parent: Parent) -> SeenDataset:
    """A Dataset and its Jobs."""
    name = wanted_job(parent)
    if name is None or parent.deleting:
        return SeenDataset(parent)
    selector = manifests.pod_selector(parent)
    job, jobs_found, pods_found = await asyncio.gather(
        cluster.get(JOB, parent.namespace, name),
        cluster.list(JOB, parent.namespace, labels=selector),
        cluster.list(POD, parent.namespace, labels=selector),
    )
    seen_pods = pods.read_all(pods_found)
    refusals = await _refusals(cluster, parent, job, seen_pods, expected=1)
    return SeenDataset(parent, job=job, jobs=tuple(jobs_found), pods=seen_pods, refusals=refusals)


async def observe_training_job(cluster: Cluster, parent: Parent) -> SeenTrainingJob:
    """A TrainingJob, its Dataset until the version is fixed, its workers, and its Model once there is a version."""
    status = TrainingJobStatus.model_validate(parent.status)
    if parent.deleting or is_finished(status) or not _valid(TrainingJobSpec, parent):
        return SeenTrainingJob(parent)
    if status.dataset_version is None:
        return SeenTrainingJob(parent, dataset=await cluster.get(DATASET, parent.namespace, parent.spec["dataset"]["name"]))
    service, job, pods_found = await asyncio.gather(
        cluster.get(SERVICE, parent.namespace, training.service_name(parent)),
        cluster.get(JOB, parent.namespace, training.job_name(parent, status.attempt)),
        cluster.list(POD, parent.namespace, labels=manifests.pod_selector(parent)),
    )
    seen_pods = pods.read_all(pods_found)
    model = None
    if published(seen_pods) is not None:
        model = await cluster.get(MODEL, parent.namespace, parent.spec["model"]["name"])
    refusals = await _refusals(cluster, parent, job, seen_pods, expected=parent.spec.get("workers", 1))
    return SeenTrainingJob(parent, model=model, service=service, job=job, pods=seen_pods, refusals=refusals)


async def observe_model(_: Cluster, parent: Parent) -> SeenModel:
    """A Model; all that matters stands in itself."""
    return SeenModel(parent)


async def observe_inference_service(cluster: Cluster, parent: Parent) -> SeenInferenceService:
    """An InferenceService, its Model, its children and their pods."""
    if parent.deleting or not _valid(InferenceServiceSpec, parent):
        return SeenInferenceService(parent)
    model, pods_found, children = await asyncio.gather(
        cluster.get(MODEL, parent.namespace, parent.spec["model"]["name"]),
        cluster.list(POD, parent.namespace, labels=manifests.pod_selector(parent)),
        asyncio.gather(*(cluster.get(kind, parent.namespace, parent.name) for kind in CHILD_KINDS)),
    )
    return SeenInferenceService(parent, model=model, children=_existing(children), pods=pods.read_all(pods_found))


def _valid(spec: type[BaseModel], parent: Parent) -> bool:
    """Whether the spec can be read; of an object that is not valid nothing else matters."""
    try:
        spec.model_validate(parent.spec)
    except ValidationError:
        return False
    return True


def _existing(children: Iterable[Manifest | None]) -> dict[Kind, Manifest]:
    return {kind: child for kind, child in zip(CHILD_KINDS, children, strict=True) if child is not None}


async def _refusals(
    cluster: Cluster, parent: Parent, job: Manifest | None, seen: tuple[Pod, ...], *, expected: int
) -> tuple[Manifest, ...]:
    """Why the Job controller makes no pods; asked only when it should have made them."""
    if job is None:
        return ()
    state = jobs.read(job)
    own = [pod for pod in seen if pod.owner_uid == state.uid]
    if len(own) >= expected or state.complete or state.failure or state.deleting:
        return ()
    fields = f"involvedObject.uid={state.uid},reason=FailedCreate"
    return tuple(await cluster.list(EVENT, parent.namespace, fields=fields))
