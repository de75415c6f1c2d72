"""The HTTP application: what describes the server and its model, and the door for inference in front of it.

The paths of the model that the server was started for are documented; other models and versions, when they are loaded, have the
same ones. Everything under /v2 speaks as the Open Inference Protocol does, errors too; everything else as all services of ours.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from windlass_core import __version__
from windlass_core.contracts import Progress
from windlass_core.errors import NotFound, Unavailable, WindlassError
from windlass_core.processes.crew import Crew, WorkerCrew
from windlass_core.serving import create_app, json_response, problem_response
from windlass_infer import describing
from windlass_infer.administration import Administration
from windlass_infer.door import Door
from windlass_infer.errors import Unauthorized
from windlass_infer.exchange import refuse_v2
from windlass_infer.intake import MAX_BODY_BYTES, Intake
from windlass_infer.openapi import inference_paths
from windlass_infer.paths import Paths
from windlass_infer.protocol import parse_json
from windlass_infer.schemas import IndexAnswer, Live, ModelAnswer, ModelMetadata, ModelReady, Ready, ServerMetadata
from windlass_infer.service import Service
from windlass_infer.short_way import ShortWay
from windlass_infer.tracing import Tracing

SERVER_NAME = "windlass-infer"
V2_PREFIX = "/v2"
# A name in a path. Not with a colon: `/v1/models/other:predict` is no model, whatever is asked of it.
_NAME = "{name:model}"
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "Not now."}}


class ModelNames(StringConvertor):
    """Names of models in paths."""

    regex = "[^/:]+"


register_url_convertor("model", ModelNames())


def create(
    service: Service,
    *,
    intake: Intake | None = None,
    grpc_port: int | None = None,
    crew: Crew | None = None,
    token: str | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The application that serves the models of `service`.

    Args:
        service: loads the model of its spec while the application runs.
        intake: what is taken in at once.
        grpc_port: for the protocol over gRPC beside HTTP; None for none.
        crew: the processes that serve together.
        token: opens the model repository extension; None turns it off.
        tracing: makes spans of inferences; by default only the callers' trace context is answered.
    """
    intake = intake or Intake()
    tracing = tracing or Tracing()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.running(), _grpc(service, administration, intake, grpc_port, crew):
            yield

    app = create_app(
        "Windlass infer",
        ready=service.why_not_ready,
        lifespan=lifespan,
        description=f"Predictions of the model '{service.spec.name}'.",
        body_limit=MAX_BODY_BYTES,
        crew=crew,
        alive=service.why_not_alive,
    )
    service.on_change(app.state.crew.say_whether_ready)
    administration = Administration(service, app.state.crew, token)
    # Last in the list is innermost: behind the middleware that gives every request its id and its measurements.
    way = ShortWay(service, intake, tracing)
    paths = Paths(service, app.state.direct, way.handle, way.gate_of)
    app.user_middleware.append(Middleware(Door, service=service, intake=intake, paths=paths, tracing=tracing))
    _describe_v1(app, service)
    _describe_v2(app, service, administration)
    _serve_repository(app, administration, documented=token is not None)
    _speak_v2_errors(app, service)
    _document(app, service)
    return app


def _grpc(
    service: Service, administration: Administration, intake: Intake, port: int | None, crew: Crew | None
) -> AbstractAsyncContextManager[object]:
    if port is None:
        return nullcontext()
    # gRPC takes 20 MB and a tenth of a second, which a server without it does not pay.
    from windlass_infer.grpc.server import serving_grpc

    return serving_grpc(service, administration, intake, port, share_port=isinstance(crew, WorkerCrew))


def _describe_v1(app: FastAPI, service: Service) -> None:
    async def model(request: Request) -> ModelAnswer:
        return describing.model_answer(service, _asked(request, service)[0])

    _add(
        app, f"/v1/models/{service.spec.name}", f"/v1/models/{_NAME}", model, "model", "The model, its columns and its classes"
    )

    @app.get(
        "/progress", tags=["health"], summary="Whether the model is loaded, and what runs it", response_model_exclude_none=True
    )
    async def progress() -> Progress:
        return describing.progress(service)


def _describe_v2(app: FastAPI, service: Service, administration: Administration) -> None:
    async def server() -> ServerMetadata:
        return ServerMetadata(name=SERVER_NAME, version=__version__, extensions=administration.extensions)

    async def live() -> Live:
        return Live(live=True)

    async def ready(response: Response) -> Ready:
        state = service.why_not_ready() is None
        response.status_code = HTTPStatus.OK if state else HTTPStatus.SERVICE_UNAVAILABLE
        return Ready(ready=state)

    async def model_ready(request: Request, response: Response) -> ModelReady:
        name, version = _asked(request, service)
        state = service.why_not_ready() is None and _is_loaded(service, name, version)
        response.status_code = HTTPStatus.OK if state else HTTPStatus.SERVICE_UNAVAILABLE
        return ModelReady(name=name, ready=state)

    async def metadata(request: Request) -> ModelMetadata:
        return describing.model_metadata(service, *_asked(request, service))

    async def statistics(request: Request) -> dict[str, Any]:
        return {"model_stats": await administration.statistics(*_asked(request, service))}

    async def all_statistics() -> dict[str, Any]:
        return {"model_stats": await administration.statistics()}

    app.get(V2_PREFIX, tags=["v2"], summary="Server metadata")(server)
    app.get(f"{V2_PREFIX}/health/live", tags=["v2"], summary="Whether the process lives")(live)
    app.get(f"{V2_PREFIX}/health/ready", tags=["v2"], summary="Whether inference can be asked for", responses=_NOT_READY)(ready)
    app.get(f"{V2_PREFIX}/models/stats", tags=["v2"], summary="Statistics of all that is loaded")(all_statistics)
    here, other = f"{V2_PREFIX}/models/{service.spec.name}", f"{V2_PREFIX}/models/{_NAME}"
    number = service.spec.model.version
    for path, template, one in (
        (here, other, "the model"),
        (f"{here}/versions/{number}", f"{other}/versions/{{version}}", "this version"),
    ):
        _add(app, f"{path}/ready", f"{template}/ready", model_ready, "v2", f"Whether {one} can be asked")
        _add(app, f"{path}/stats", f"{template}/stats", statistics, "v2", f"Counts and times of {one}")
        _add(app, path, template, metadata, "v2", f"What {one} takes and gives")


def _add(app: FastAPI, path: str, template: str, endpoint: Callable[..., Any], tag: str, summary: str) -> None:
    """A path of the model of the spec, which is documented, and the same for every other model and version."""
    app.add_api_route(path, endpoint, tags=[tag], summary=summary, responses=_NOT_READY, response_model_exclude_none=True)
    app.add_api_route(template, endpoint, include_in_schema=False, response_model_exclude_none=True)


def _asked(request: Request, service: Service) -> tuple[str, str | None]:
    """The model and the version that a path names."""
    parts = request.url.path.split("/")
    name = str(request.path_params.get("name", service.spec.name))
    return name, parts[parts.index("versions", 4) + 1] if "versions" in parts[4:] else None


def _is_loaded(service: Service, name: str, version: str | None) -> bool:
    """Raises NotFound for what is not expected here either."""
    try:
        service.lookup(name, version)
    except Unavailable:
        return False
    return True


def _serve_repository(app: FastAPI, administration: Administration, *, documented: bool) -> None:
    """The protocol's model repository extension."""

    async def index(request: Request) -> list[IndexAnswer]:
        document = await _json(request)
        ready = isinstance(document, dict) and document.get("ready") is True
        return administration.index(request.headers.get("authorization"), ready=ready)

    async def load(name: str, request: Request) -> Response:
        await administration.load(request.headers.get("authorization"), name, await _json(request))
        return Response(status_code=HTTPStatus.OK)

    async def unload(name: str, request: Request) -> Response:
        await administration.unload(request.headers.get("authorization"), name, await _json(request))
        return Response(status_code=HTTPStatus.OK)

    base = f"{V2_PREFIX}/repository"
    for path, endpoint, summary in (
        (f"{base}/index", index, "What is loaded, being loaded, or could not be loaded"),
        (f"{base}/models/{{name}}/load", load, "Load a version and let it answer"),
        (f"{base}/models/{{name}}/unload", unload, "Let a model or one of its versions go"),
    ):
        app.post(path, tags=["repository"], summary=summary, include_in_schema=documented)(endpoint)


async def _json(request: Request) -> Any:
    body = await request.body()
    return parse_json(body) if body.strip() else {}


def _speak_v2_errors(app: FastAPI, service: Service) -> None:
    """Errors below /v2 as that protocol has them; a path that is not there says which ones are."""
    as_problem = app.exception_handlers[HTTPException]

    @app.exception_handler(WindlassError)
    async def on_error(request: Request, error: WindlassError) -> Response:
        answer = refuse_v2(error) if request.url.path.startswith(V2_PREFIX) else problem_response(error)
        if isinstance(error, Unauthorized):
            answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Any:
        path = request.url.path
        if error.status_code == HTTPStatus.NOT_FOUND:
            missing = NotFound(f"nothing is at {path}; this server has {_here(service)}")
            return refuse_v2(missing) if path.startswith(V2_PREFIX) else problem_response(missing)
        if path.startswith(V2_PREFIX):
            return json_response({"error": str(error.detail)}, error.status_code)
        answer: Any = as_problem(request, error)
        return await answer


def _here(service: Service) -> str:
    """What can be asked, for whoever asked for something else."""
    spec = service.spec
    loaded = [serving.version for serving in service.table.servings]
    versions = [(version.number, version.name) for version in loaded] or [(spec.model.version, spec.name)]
    listed = ", ".join(f"version {number} of the model '{name}'" for number, name in versions)
    return f"{listed}: /v1/models/{versions[0][1]}:predict and {V2_PREFIX}/models/{versions[0][1]}/infer"


def _document(app: FastAPI, service: Service) -> None:
    """Let the OpenAPI document describe the model once it is there."""
    without_model = app.openapi
    described: dict[str, Any] = {}  # until the version changes
    service.on_change(described.clear)

    def openapi() -> dict[str, Any]:
        if described:
            return described
        document = without_model()
        if service.loaded is None:
            return document
        paths = {**document["paths"], **inference_paths(service.loaded.predictor)}
        described.update({**document, "paths": paths})
        return described

    app.openapi = openapi  # type: ignore[method-assign]  # how FastAPI's own documentation extends it
