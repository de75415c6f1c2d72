"""The HTTP API over raw files and Dataset versions; its description is what `/openapi.json` tells.

Namespace and path of each request are checked by the store. There is no access control in this release: the Service is for
clients inside the cluster, and a NetworkPolicy or a proxy in front decides who those are.
"""

import asyncio
import functools
import heapq
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from windlass_core.errors import BadConfiguration, NotFound, WindlassError
from windlass_core.manifests import Manifest
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.serving import accept_any_size, create_app, json_response, problem_response
from windlass_core.store import URI_SCHEME, Store
from windlass_preprocess import headers
from windlass_preprocess.bodies import Bodies
from windlass_preprocess.profile import PROFILE_FILE, Profile
from windlass_preprocess.uploads import RAW_FOLDER, OffsetMismatch, Received, ResumableUpload, Sweeper, raw_path, receive
from windlass_preprocess.writing import PREVIEW_FILE, PREVIEW_ROWS

# Of one page of a listing.
PAGE_LIMIT = 1000
# Versions of one Dataset that are listed, newest first; each costs two small requests.
VERSIONS_LISTED = 50
# Namespaces whose clients are kept open.
STORES_KEPT = 256
# Between two looks whether the store answers, until it did once.
STORE_CHECK_SECONDS = 2.0

Namespace = Annotated[str, Path(description="Kubernetes namespace.", max_length=63)]
RawPath = Annotated[str, Path(description="Path of the file; raw/<path> in the store.")]
Name = Annotated[str, Path(description="Name of the Dataset.", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Version = Annotated[int, Path(description="Number of the version.", ge=1)]

log = logging.getLogger(__name__)


class RawFile(BaseModel):
    """A raw file."""

    path: str = Field(description="Path below raw/.")
    uri: str = Field(description="What a Dataset names it by.")
    bytes: int
    modified: datetime


class RawFiles(BaseModel):
    """A page of raw files, in the order of their paths."""

    files: list[RawFile]
    next: str | None = Field(default=None, description="Give it as `after` to get the next page.")


class Uploaded(BaseModel):
    """Where an upload stands."""

    uri: str
    bytes: int = Field(description="Bytes that are kept.")
    complete: bool = Field(description="Whether they are the whole file, which is visible only then.")
    digest: str = Field(description="sha256:<hex> of the whole file.")


class DatasetNames(BaseModel):
    """The Datasets that have versions, or whose first one is on its way."""

    datasets: list[str]


class VersionSummary(BaseModel):
    """One version of a Dataset."""

    version: int
    uri: str
    digest: str
    rows: int
    task: str | None
    created_at: datetime


class Versions(BaseModel):
    """Newest versions first."""

    versions: list[VersionSummary]


class Stores:
    """The stores of all namespaces, opened when they are first asked for."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._why_not: str | None = "the store was not reached yet"
        self.of = functools.lru_cache(STORES_KEPT)(self._open)

    def _open(self, namespace: str) -> Store:
        return Store.open(namespace, self._environment)

    def why_not_ready(self) -> str | None:
        """None once the store has answered. Later outages are told by the requests that need it."""
        return self._why_not

    async def reach(self) -> None:
        """Ask the store until it answers."""
        namespace = self._environment.get("POD_NAMESPACE", "default")
        while self._why_not is not None:
            try:
                await asyncio.to_thread(lambda: self.of(namespace).folders(RAW_FOLDER))
                self._why_not = None
            except WindlassError as error:
                log.warning("the store is not reached", extra={"reason": error.reason, "detail": error.message})
                self._why_not = error.message
                await asyncio.sleep(STORE_CHECK_SECONDS)


def create(environment: Mapping[str, str] | None = None, *, bodies: Bodies | None = None) -> FastAPI:
    """The application, over the store that the environment names; `bodies` bounds the uploads."""
    stores = Stores(os.environ if environment is None else environment)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reaching = asyncio.create_task(stores.reach())
        yield
        reaching.cancel()

    app = create_app("Windlass preprocess", ready=stores.why_not_ready, lifespan=lifespan, description=__doc__ or "")
    app.add_exception_handler(OffsetMismatch, _on_offset_mismatch)
    _add_raw_routes(app, stores, bodies or Bodies(), Sweeper())
    _add_dataset_routes(app, stores)
    return app


def _add_raw_routes(app: FastAPI, stores: Stores, bodies: Bodies, sweeper: Sweeper) -> None:
    raw = "/v1/namespaces/{namespace}/raw"

    @app.get(raw, tags=["raw files"], summary="List raw files")
    def list_raw(
        namespace: Namespace,
        prefix: Annotated[str, Query(description="Only paths that begin with it.")] = "",
        after: Annotated[str, Query(description="Only paths behind it, in order.")] = "",
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT,
    ) -> RawFiles:
        folder = prefix.rpartition("/")[0]
        entries = stores.of(namespace).list(f"{RAW_FOLDER}/{folder}" if folder else RAW_FOLDER)
        found = (_raw_file(entry.path, entry.bytes, entry.modified) for entry in entries)
        wanted = (file for file in found if file.path.startswith(prefix) and file.path > after)
        page = heapq.nsmallest(limit + 1, wanted, key=lambda file: file.path)
        return RawFiles(files=page[:limit], next=page[limit - 1].path if len(page) > limit else None)

    @app.put(
        f"{raw}/{{path:path}}",
        tags=["raw files"],
        summary="Upload a raw file, or a part of one",
        responses={
            200: {"description": "The file is whole and has replaced another."},
            201: {"description": "The file is whole.", "model": Uploaded},
            202: {"description": "The part is kept; Upload-Offset tells where the next one begins.", "model": Uploaded},
            408: {"description": "The client stopped sending, or sent too slowly; with a digest, what came is kept."},
            409: {"description": "The part does not begin where the kept bytes end; Upload-Offset tells where."},
            422: {"description": "The bytes do not have the digest that was announced; nothing is kept."},
            503: {"description": "Too many uploads at once, or the store does not answer; try again."},
        },
    )
    async def put_raw(namespace: Namespace, path: RawPath, request: Request) -> Response:
        accept_any_size(request)
        store, stored = await asyncio.to_thread(stores.of, namespace), raw_path(path)
        digest, span = headers.digest_of(request.headers), headers.span_of(request.headers)
        if digest is None and span is not None:
            raise BadConfiguration(f"a part of a file needs the digest of the whole: {headers.HOW_TO_GIVE_A_DIGEST}")
        async with bodies.of(request) as body:
            if digest is None:
                return _uploaded(stored, await receive(store, stored, body, headers.length_of(request.headers)))
            await asyncio.to_thread(sweeper.sweep, store)
            return _uploaded(stored, await ResumableUpload(store, stored, digest).receive(body, span))

    @app.head(f"{raw}/{{path:path}}", tags=["raw files"], summary="Size of a raw file, or how far its upload is")
    def head_raw(namespace: Namespace, path: RawPath, request: Request) -> Response:
        store, stored = stores.of(namespace), raw_path(path)
        if (digest := headers.digest_of(request.headers)) is not None:
            return Response(headers=_offset_headers(ResumableUpload(store, stored, digest).state()))
        entry = store.head(stored)
        return Response(headers=headers.file_headers(entry))

    @app.get(f"{raw}/{{path:path}}", tags=["raw files"], summary="Download a raw file")
    def get_raw(namespace: Namespace, path: RawPath) -> StreamingResponse:
        store, stored = stores.of(namespace), raw_path(path)
        entry = store.head(stored)
        media_type = "application/octet-stream"
        return StreamingResponse(store.chunks(stored), headers=headers.file_headers(entry), media_type=media_type)

    @app.delete(f"{raw}/{{path:path}}", tags=["raw files"], summary="Delete a raw file", status_code=204)
    def delete_raw(namespace: Namespace, path: RawPath) -> None:
        store, stored = stores.of(namespace), raw_path(path)
        store.head(stored)
        store.delete([stored])


def _add_dataset_routes(app: FastAPI, stores: Stores) -> None:
    datasets = "/v1/namespaces/{namespace}/datasets"
    one = f"{datasets}/{{name}}/versions/{{version}}"

    def opened(namespace: str, name: str, version: int) -> PublishedVersion:
        return Registry(stores.of(namespace), "datasets").open(name, version)

    @app.get(datasets, tags=["datasets"], summary="List Datasets that have versions or are about to")
    def list_datasets(namespace: Namespace) -> DatasetNames:
        return DatasetNames(datasets=Registry(stores.of(namespace), "datasets").names())

    @app.get(f"{datasets}/{{name}}/versions", tags=["datasets"], summary="List the newest versions of a Dataset")
    def list_versions(namespace: Namespace, name: Name) -> Versions:
        registry = Registry(stores.of(namespace), "datasets")
        numbers = registry.versions(name, newest=VERSIONS_LISTED)
        if not numbers:
            raise NotFound(f"Dataset {name} has no version in namespace {namespace}")
        return Versions(versions=[_summary(registry.open(name, number)) for number in reversed(numbers)])

    @app.get(one, tags=["datasets"], summary="The manifest of a version", response_model_exclude_none=True)
    def manifest(namespace: Namespace, name: Name, version: Version) -> Manifest:
        return opened(namespace, name, version).manifest

    @app.get(f"{one}/profile", tags=["datasets"], summary="What the columns hold", response_model_exclude_none=True)
    def profile(namespace: Namespace, name: Name, version: Version) -> Profile:
        return Profile.model_validate_json(opened(namespace, name, version).read(PROFILE_FILE))

    @app.get(f"{one}/preview", tags=["datasets"], summary="The first rows of a split")
    def preview(
        namespace: Namespace,
        name: Name,
        version: Version,
        split: Literal["train", "validation", "test"] = "train",
        rows: Annotated[int, Query(ge=1, le=PREVIEW_ROWS)] = 10,
    ) -> dict[str, list[dict[str, Any]]]:
        found = json.loads(opened(namespace, name, version).read(PREVIEW_FILE))
        return {"rows": found[split][:rows]}


def _raw_file(path: str, size: int, modified: datetime) -> RawFile:
    return RawFile(path=path.removeprefix(f"{RAW_FOLDER}/"), uri=f"{URI_SCHEME}{path}", bytes=size, modified=modified)


def _uploaded(path: str, received: Received) -> Response:
    body = Uploaded(
        uri=f"{URI_SCHEME}{path}", bytes=received.offset, complete=received.complete, digest=received.digest
    ).model_dump()
    status = 202 if not received.complete else (200 if received.replaced else 201)
    response = json_response(body, status)
    response.headers.update(_offset_headers(received))
    return response


def _offset_headers(received: Received) -> dict[str, str]:
    return {
        "Upload-Offset": str(received.offset),
        "Upload-Complete": "?1" if received.complete else "?0",
        "Repr-Digest": headers.repr_digest(received.digest),
    }


async def _on_offset_mismatch(_request: Request, error: Exception) -> Response:
    assert isinstance(error, OffsetMismatch)  # noqa: S101  (registered for this type alone)
    response = problem_response(error)
    response.headers["Upload-Offset"] = str(error.offset)
    return response


def _summary(published: PublishedVersion) -> VersionSummary:
    content = published.manifest.dataset
    assert content is not None  # noqa: S101  (the registry of datasets holds nothing else)
    return VersionSummary(
        version=published.reference.version,
        uri=published.reference.uri,
        digest=published.reference.digest,
        rows=content.rows,
        task=content.task,
        created_at=published.manifest.created_at,
    )
