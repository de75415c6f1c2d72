"""The API over runs and models: what runs, how its figures go over time, which versions there are and how they differ.

Reads the store alone, and imports neither torch nor the trainer, so that it starts at once and stays small.
"""

import functools
import itertools
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from windlass_core.contracts import RunResult, VersionReference
from windlass_core.errors import BadData, NotFound
from windlass_core.manifests import ModelContent
from windlass_core.registry import Registry
from windlass_core.serving import create_app
from windlass_core.store import Store
from windlass_train.compare import Comparison, compare
from windlass_train.runs import MetricPoint, RunDescription, RunFolder, run_folders

# Runs in one answer: each costs two requests to the store, a second in all where the store is far.
PAGE_LIMIT = 100
# The newest versions of a model in one answer; each costs two requests.
VERSIONS_LISTED = 50
# Points in one answer, about 1.5 MB; a run keeps some thousands.
MOST_POINTS = 10_000
# Versions of one model in one comparison; more do not fit beside one another.
MOST_COMPARED = 16

# Opened stores hold connections that the next request of their namespace can use.
STORES_KEPT = 128

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
Name = Annotated[str, Path(pattern=NAME_PATTERN)]
Uid = Annotated[str, Path(pattern=r"^[-A-Za-z0-9]{1,64}$", description="Unique id of the TrainingJob.")]
Job = Annotated[str, Path(pattern=NAME_PATTERN, description="Name of the TrainingJob.")]
RunPlace = Annotated[
    str | None,
    Query(pattern=r"^[-a-z0-9]{1,63}/[-A-Za-z0-9]{1,64}$", description="Only runs behind it: `next` of the page before."),
]
OpenStore = Callable[[str], Store]

log = logging.getLogger(__name__)


class Body(BaseModel):
    """Base of what the API answers: camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Run(Body):
    """One run: what it is, and how it ended, if it has."""

    description: RunDescription
    result: RunResult | None = None


class Runs(Body):
    """A page of runs, in the order of their jobs' names and their uids."""

    runs: list[Run]
    next: str | None = Field(default=None, description="Give it as `after` to get the next page.")


class Metrics(Body):
    """Figures of a run over time, in order of steps."""

    points: list[MetricPoint]
    more: bool = Field(description="Whether there are more; ask again with `after` set to the last step here.")


class Version(Body):
    """One version of a model."""

    version: VersionReference
    bytes: int
    content: ModelContent


@functools.lru_cache(maxsize=STORES_KEPT)
def _open_store(namespace: str) -> Store:
    return Store.open(namespace)


def create(open_store: OpenStore = _open_store) -> FastAPI:
    """The application.

    Args:
        open_store: gives the store of a namespace; is called for each request.
    """
    app = create_app("Windlass train", ready=lambda: None, description=__doc__ or "")
    prefix = "/v1/namespaces/{namespace}"
    app.include_router(_runs(open_store), prefix=f"{prefix}/runs", tags=["runs"])
    app.include_router(_models(open_store), prefix=f"{prefix}/models", tags=["models"])
    return app


def _runs(open_store: OpenStore) -> APIRouter:
    router = APIRouter()

    @router.get("", summary="Runs, by job", response_model_exclude_none=True)
    def runs(namespace: Name, after: RunPlace = None, limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT) -> Runs:
        job, _, uid = (after or "").partition("/")
        page = list(itertools.islice(run_folders(open_store(namespace), after=(job, uid)), limit + 1))
        described = (_described(folder) for folder in page[:limit])
        last = page[limit - 1] if len(page) > limit else None
        return Runs(runs=[run for run in described if run], next=f"{last.job}/{last.uid}" if last else None)

    @router.get("/{job}/{uid}", summary="One run", response_model_exclude_none=True)
    def run(namespace: Name, job: Job, uid: Uid) -> Run:
        return _existing(RunFolder(open_store(namespace), job, uid))

    @router.get("/{job}/{uid}/metrics", summary="Figures of a run over time", response_model_exclude_none=True)
    def metrics(namespace: Name, job: Job, uid: Uid, after: Annotated[int, Query(ge=0)] = 0) -> Metrics:
        """Points of steps beyond `after`."""
        folder = RunFolder(open_store(namespace), job, uid)
        _existing(folder)
        return _page(list(itertools.islice(folder.points(after=after), MOST_POINTS + 1)))

    return router


def _models(open_store: OpenStore) -> APIRouter:
    router = APIRouter()

    @router.get("", summary="Names of all models")
    def models(namespace: Name) -> list[str]:
        return Registry(open_store(namespace), "models").names()

    @router.get("/{model}/versions", summary="The newest versions of a model", response_model_exclude_none=True)
    def versions(
        namespace: Name, model: Name, limit: Annotated[int, Query(ge=1, le=VERSIONS_LISTED)] = VERSIONS_LISTED
    ) -> list[Version]:
        """Oldest first."""
        registry = Registry(open_store(namespace), "models")
        return [_version(registry, model, number) for number in registry.versions(model, newest=limit)]

    @router.get("/{model}/versions/{number}", summary="One version", response_model_exclude_none=True)
    def version(namespace: Name, model: Name, number: Annotated[int, Path(ge=1)]) -> Version:
        return _version(Registry(open_store(namespace), "models"), model, number)

    @router.get("/{model}/compare", summary="How versions of a model differ")
    def comparison(
        namespace: Name, model: Name, versions: Annotated[list[int], Query(min_length=2, max_length=MOST_COMPARED)]
    ) -> Comparison:
        """Give `versions` two times or more: `?versions=1&versions=2`."""
        registry = Registry(open_store(namespace), "models")
        return compare({number: _version(registry, model, number).content for number in versions})

    return router


def _described(folder: RunFolder) -> Run | None:
    try:
        return _existing(folder)
    except NotFound:
        return None  # a run that is being deleted, or whose first try died before it began
    except BadData as error:
        log.warning("a run is left out of the list: %s", error.message)
        return None


def _existing(folder: RunFolder) -> Run:
    return Run(description=folder.description(), result=folder.result())


def _page(points: list[MetricPoint]) -> Metrics:
    """At most MOST_POINTS, and of the last step all or none: the next page begins behind it."""
    if len(points) <= MOST_POINTS:
        return Metrics(points=points, more=False)
    return Metrics(points=[point for point in points if point.step < points[-1].step], more=True)


def _version(registry: Registry, model: str, number: int) -> Version:
    published = registry.open(model, number)
    content = published.manifest.model
    if content is None:
        raise NotFound(f"{published.reference.uri} is not a model")
    return Version(version=published.reference, bytes=published.manifest.size, content=content)
