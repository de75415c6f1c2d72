"""What the server says of itself and of its models: metadata, readiness, statistics, the repository's index.

Pure: reads the service's table. Knows no HTTP framework; `app.py` serves what is made here.
"""

from datetime import UTC, datetime
from typing import Any

from windlass_core.contracts import Progress
from windlass_core.errors import NotFound
from windlass_infer import statistics
from windlass_infer.engine import TensorSignature
from windlass_infer.predictor import Predictor
from windlass_infer.schemas import ColumnAnswer, IndexAnswer, ModelAnswer, ModelMetadata, TensorMetadata
from windlass_infer.service import Service
from windlass_infer.table import State
from windlass_infer.tabular import TabularPredictor


def progress(service: Service) -> Progress:
    """Whether the model of the spec is loaded, and what runs it or what it waits for: what the operator asks of a pod."""
    serving = service.loaded
    loading = "WaitingForStore" if service.waits_for_store else "Loading"
    return Progress(
        phase="Serving" if serving else loading,
        message=service.why_not_ready() or "",
        engine=serving.variant if serving else None,
        at=datetime.now(UTC),
    )


def model_answer(service: Service, name: str) -> ModelAnswer:
    """The model of our own paths. Raises NotFound for a name that is neither the spec's nor loaded."""
    model, reference = service.table.model(name), service.spec.model
    serving = model.current if model else None
    if serving is None and name != service.spec.name:
        raise NotFound(f"no model '{name}' is loaded")
    version = serving.version if serving else None
    return ModelAnswer(
        name=name,
        ready=serving is not None and service.why_not_ready() is None,
        model=version.model if version else reference.name,
        version=version.number if version else reference.version,
        digest=version.digest if version else reference.digest,
        engine=serving.variant if serving else None,
        engines=dict(serving.engines) if serving else None,
        compared_with=serving.compared_with if serving else None,
        failures={str(number): reason for number, reason in model.failures.items()} or None if model else None,
        **(_described(serving.predictor) if serving else {}),
    )


def model_metadata(service: Service, name: str, version: str | None) -> ModelMetadata:
    """The metadata of the protocol. Raises NotFound and Unavailable."""
    serving = service.lookup(name, version)
    model = service.table.model(name)
    return ModelMetadata(
        name=name,
        versions=[str(other.version.number) for other in model.servings] if model else [],
        platform=serving.platform,
        inputs=[tensor_metadata(signature) for signature in serving.predictor.inputs],
        outputs=[tensor_metadata(signature) for signature in serving.predictor.outputs],
    )


def statistics_of(service: Service, name: str | None, version: str | None) -> list[dict[str, Any]]:
    """Statistics of this process: of a version, of all versions of a model, or of all. Raises NotFound and Unavailable."""
    if name is None:
        servings = service.table.servings
    elif version is not None:
        servings = [service.lookup(name, version)]
    else:
        service.lookup(name)
        model = service.table.model(name)
        servings = model.servings if model else []
    return [statistics.of_version(serving.measurements) for serving in servings]


def index(service: Service, *, ready: bool) -> list[IndexAnswer]:
    """The repository's index; of what is ready alone, where that is asked for."""
    entries = [entry for entry in service.table.index() if not ready or entry.state is State.READY]
    return [IndexAnswer(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason) for entry in entries]


def tensor_metadata(signature: TensorSignature) -> TensorMetadata:
    """One input or output."""
    return TensorMetadata(name=signature.name, datatype=signature.datatype, shape=list(signature.shape))


def _described(predictor: Predictor) -> dict[str, Any]:
    if not isinstance(predictor, TabularPredictor):
        return {
            "inputs": [tensor_metadata(signature) for signature in predictor.inputs],
            "outputs": [tensor_metadata(signature) for signature in predictor.outputs],
        }
    columns = [
        ColumnAnswer(name=feature.column, type=feature.type, categories=getattr(feature, "categories", None))
        for feature in predictor.transform.features
    ]
    return {"task": predictor.task, "label": predictor.label, "classes": list(predictor.classes) or None, "columns": columns}
