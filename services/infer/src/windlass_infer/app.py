"""The HTTP application: what describes the server and its model, and the door for inference in front of it.

One process serves one model, so its paths are fixed at the start. Everything under /v2 speaks as the Open Inference Protocol
does, errors too; everything else as all services of ours.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from windlass_core import __version__
from windlass_core.errors import NotFound, WindlassError
from windlass_core.processes.crew import Crew
from windlass_core.serving import create_app, json_response, problem_response
from windlass_infer.door import Door, refuse_v2
from windlass_infer.engine import TensorSignature
from windlass_infer.intake import MAX_BODY_BYTES, Intake
from windlass_infer.openapi import inference_paths
from windlass_infer.predictor import Predictor
from windlass_infer.protocol import EXTENSIONS
from windlass_infer.schemas import (
    ColumnAnswer,
    Live,
    ModelAnswer,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from windlass_infer.service import Service
from windlass_infer.tabular import TabularPredictor

SERVER_NAME = "windlass-infer"
V2_PREFIX = "/v2"


def create(service: Service, *, intake: Intake | None = None, crew: Crew | None = None) -> FastAPI:
    """The application that serves the model of `service`."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = create_app(
        "Windlass infer",
        ready=service.why_not_ready,
        lifespan=lifespan,
        description=f"Predictions of the model '{service.spec.name}'.",
        body_limit=MAX_BODY_BYTES,
        crew=crew,
    )
    # Last in the list is innermost: behind the middleware that gives every request its id and its measurements.
    app.user_middleware.append(Middleware(Door, service=service, intake=intake or Intake()))
    _describe_v1(app, service)
    _describe_v2(app, service)
    _speak_v2_errors(app, service)
    _document(app, service)
    return app


def _describe_v1(app: FastAPI, service: Service) -> None:
    @app.get(
        f"/v1/models/{service.spec.name}",
        tags=["model"],
        summary="The model, its columns and its classes",
        response_model_exclude_none=True,
    )
    async def model() -> ModelAnswer:
        return _model_answer(service)


def _describe_v2(app: FastAPI, service: Service) -> None:
    name = service.spec.name
    base = f"{V2_PREFIX}/models/{name}"
    versioned = f"{base}/versions/{service.spec.model.version}"
    not_ready: dict[int | str, dict[str, Any]] = {503: {"description": "Not now."}}

    @app.get(V2_PREFIX, tags=["v2"], summary="Server metadata")
    async def server() -> ServerMetadata:
        return ServerMetadata(name=SERVER_NAME, version=__version__, extensions=list(EXTENSIONS))

    @app.get(f"{V2_PREFIX}/health/live", tags=["v2"], summary="Whether the process lives")
    async def live() -> Live:
        return Live(live=True)

    @app.get(f"{V2_PREFIX}/health/ready", tags=["v2"], summary="Whether inference can be asked for", responses=not_ready)
    async def ready(response: Response) -> Ready:
        state = await app.state.crew.why_not_ready() is None
        response.status_code = HTTPStatus.OK if state else HTTPStatus.SERVICE_UNAVAILABLE
        return Ready(ready=state)

    @app.get(f"{versioned}/ready", tags=["v2"], summary="Whether this version can be asked", responses=not_ready)
    @app.get(f"{base}/ready", tags=["v2"], summary="Whether this model can be asked", responses=not_ready)
    async def model_ready(response: Response) -> ModelReady:
        state = await app.state.crew.why_not_ready() is None
        response.status_code = HTTPStatus.OK if state else HTTPStatus.SERVICE_UNAVAILABLE
        return ModelReady(name=name, ready=state)

    @app.get(versioned, tags=["v2"], summary="What this version takes and gives", responses=not_ready)
    @app.get(base, tags=["v2"], summary="What the model takes and gives", responses=not_ready)
    async def metadata() -> ModelMetadata:
        serving = service.serving
        return ModelMetadata(
            name=name,
            versions=[str(service.spec.model.version)],
            platform=serving.platform,
            inputs=[_tensor_metadata(signature) for signature in serving.predictor.inputs],
            outputs=[_tensor_metadata(signature) for signature in serving.predictor.outputs],
        )


def _speak_v2_errors(app: FastAPI, service: Service) -> None:
    """Errors below /v2 as that protocol has them; a path that is not there says which ones are."""
    as_problem = app.exception_handlers[HTTPException]
    name, version = service.spec.name, service.spec.model.version
    here = f"/v1/models/{name}:predict and {V2_PREFIX}/models/{name}/infer"

    @app.exception_handler(WindlassError)
    async def on_error(request: Request, error: WindlassError) -> Response:
        return refuse_v2(error) if request.url.path.startswith(V2_PREFIX) else problem_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Any:
        path = request.url.path
        if error.status_code == HTTPStatus.NOT_FOUND:
            missing = NotFound(f"nothing is at {path}; this server has version {version} of the model '{name}': {here}")
            return refuse_v2(missing) if path.startswith(V2_PREFIX) else problem_response(missing)
        if path.startswith(V2_PREFIX):
            return json_response({"error": str(error.detail)}, error.status_code)
        answer: Any = as_problem(request, error)
        return await answer


def _document(app: FastAPI, service: Service) -> None:
    """Let the OpenAPI document describe the model once it is there."""
    without_model = app.openapi
    described: dict[str, Any] = {}

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


def _model_answer(service: Service) -> ModelAnswer:
    reference = service.spec.model
    described = _described(service.loaded.predictor) if service.loaded else {}
    return ModelAnswer(
        name=service.spec.name,
        ready=service.why_not_ready() is None,
        model=reference.name,
        version=reference.version,
        digest=reference.digest,
        **described,
    )


def _described(predictor: Predictor) -> dict[str, Any]:
    if not isinstance(predictor, TabularPredictor):
        return {
            "inputs": [_tensor_metadata(signature) for signature in predictor.inputs],
            "outputs": [_tensor_metadata(signature) for signature in predictor.outputs],
        }
    columns = [
        ColumnAnswer(name=feature.column, type=feature.type, categories=getattr(feature, "categories", None))
        for feature in predictor.transform.features
    ]
    return {"task": predictor.task, "label": predictor.label, "classes": list(predictor.classes) or None, "columns": columns}


def _tensor_metadata(signature: TensorSignature) -> TensorMetadata:
    return TensorMetadata(name=signature.name, datatype=signature.datatype, shape=list(signature.shape))
