"""Brings one version of a model from the store to an engine: every byte checked, tried once, before anybody may ask.

    load          reads the version that a spec names; raises what must end the process
    load_patient  the same, waiting for a store that does not answer, and saying so

Knows no HTTP and no queue.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from windlass_core.contracts import InferServe
from windlass_core.errors import BadData, DigestMismatch, NotFound, Unavailable, WindlassError
from windlass_core.manifests import ModelContent
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.store import Store
from windlass_infer.batcher import MAX_BATCH_ROWS
from windlass_infer.engine import Engine
from windlass_infer.engines.onnx_runtime import OnnxRuntimeEngine
from windlass_infer.predictor import Predictor, ServedVersion
from windlass_infer.tabular import TabularPredictor
from windlass_infer.tensor_predictor import TensorPredictor
from windlass_preprocess.transform import Transform

MODEL_LOAD_FAILED = "ModelLoadFailed"
TRANSFORM = "transform.json"

# Formats of a version that an engine here runs, the preferred first.
ENGINES: Mapping[str, Callable[[Path], Engine]] = {"onnx": OnnxRuntimeEngine}

# The store has retried for a while already when it says Unavailable; these pauses come on top, so that a store that is coming
# back is not met by all pods at once.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to answer: what translates, and what computes."""

    predictor: Predictor
    engine: Engine


def load_patient(
    spec: InferServe,
    open_store: Callable[[], Store],
    folder: Path,
    *,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> LoadedModel:
    """The version, however long the store is away.

    Args:
        spec: names the version and its digest.
        open_store: gives the store of the spec's namespace.
        folder: for the program's file.
        say: told in a sentence what is being waited for.
        pause: waits some seconds.

    Raises:
        WindlassError: the version can never be served; its reason is what the InferenceService should show.
    """
    seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return load(spec, open_store(), folder)
        except Unavailable as error:
            say(f"waiting for {_title(spec)}: {error.message}; trying again in {seconds:.0f} s")
            log.warning("%s", error.message, extra={"retryInSeconds": seconds})
            pause(seconds)
            seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)


def load(spec: InferServe, store: Store, folder: Path) -> LoadedModel:
    """The version that `spec` names, checked against its digest and tried on an example.

    Raises:
        Unavailable: the store does not answer.
        DigestMismatch: the store holds other bytes than were published.
        WindlassError: with reason ModelLoadFailed when the version is not there or cannot be run, else as the store says.
    """
    try:
        published = Registry(store, "models").open(spec.model.name, spec.model.version, spec.model.digest or None)
        return _load_published(spec, published, folder)
    except (Unavailable, DigestMismatch):
        raise
    except NotFound as error:
        raise BadData(f"{_title(spec)} is not whole in the store: {error.message}", reason=MODEL_LOAD_FAILED) from error
    except BadData as error:
        raise BadData(f"{_title(spec)} cannot be served: {error.message}", reason=MODEL_LOAD_FAILED) from error
    except WindlassError:
        raise
    except Exception as error:
        log.exception("loading failed")
        raise BadData(f"{_title(spec)} cannot be served: {_one_line(error)}", reason=MODEL_LOAD_FAILED) from error


def _load_published(spec: InferServe, published: PublishedVersion, folder: Path) -> LoadedModel:
    content = published.manifest.model
    if content is None:
        raise BadData(f"{published.reference.uri} holds no model")
    format_, program = _program(published, content)
    started = time.perf_counter()
    engine = ENGINES[format_](published.download(program, folder / Path(program).name))
    version = ServedVersion(spec.name, published.reference.version, published.reference.digest, spec.model.name)
    predictor = _predictor(version, published, content, engine)
    _warm_up(predictor, engine)
    seconds = round(time.perf_counter() - started, 3)
    log.info("loaded %s", _title(spec), extra={"format": format_, "digest": published.reference.digest, "seconds": seconds})
    return LoadedModel(predictor, engine)


def _predictor(version: ServedVersion, published: PublishedVersion, content: ModelContent, engine: Engine) -> Predictor:
    """What translates for the version: by its transform, where it has one."""
    if published.manifest.file(TRANSFORM) is None:
        return TensorPredictor(version, content, engine.signature)
    return TabularPredictor(version, content, _transform(published), engine.signature)


def _program(published: PublishedVersion, content: ModelContent) -> tuple[str, str]:
    for format_ in ENGINES:
        if format_ in content.formats:
            return format_, content.formats[format_]
    raise BadData(
        f"{published.reference.uri} has the formats {', '.join(sorted(content.formats)) or 'none'}, "
        f"but this server runs {', '.join(ENGINES)}; see the log of the training job for why the export failed"
    )


def _transform(published: PublishedVersion) -> Transform:
    try:
        return Transform.model_validate_json(published.read(TRANSFORM))
    except ValidationError as error:
        raise BadData(f"its {TRANSFORM} cannot be read by this release: {error.errors()[0]['msg']}") from error


def _warm_up(predictor: Predictor, engine: Engine) -> None:
    """A real inference of one row and of a full batch: memory is taken and kernels are chosen before the first caller comes."""
    for rows in (1, MAX_BATCH_ROWS):
        predictor.tensors(engine.run(predictor.example_arrays(rows)), rows, predictor.output_names)


def _title(spec: InferServe) -> str:
    return f"version {spec.model.version} of model '{spec.model.name}'"


def _one_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]
