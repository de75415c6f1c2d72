"""Brings one version of a model from the store to an engine: every byte checked, tried at every size, before anybody may ask.

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
from windlass_infer.engine import PREPARED_ROWS, Engine, EngineSignature
from windlass_infer.engines.candidates import EngineChoice
from windlass_infer.engines.failures import MODEL_LOAD_FAILED
from windlass_infer.engines.figures import Figure
from windlass_infer.engines.selection import Selector, manifest_signature
from windlass_infer.predictor import Predictor, ServedVersion
from windlass_infer.scheduling.queue import MAX_BATCH_ROWS
from windlass_infer.tabular import TabularPredictor
from windlass_infer.tensor_predictor import TensorPredictor
from windlass_preprocess.transform import Transform

TRANSFORM = "transform.json"

# Seconds after which sizes of batches other than the smallest and the largest are left to whoever first has one.
WARM_UP_SECONDS = 2.0

# The store has retried for a while already when it says Unavailable; these pauses come on top, so that a store that is coming
# back is not met by all pods at once.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A version ready to answer: what translates, and what computes.

    Attributes:
        reasons: by engine variant, why it serves or why it does not.
        figure: what is known of the engine's speed; None where it was the only one that could run the version.
        reference: what the engine's answers were compared with; None where there was nothing.
    """

    predictor: Predictor
    engine: Engine
    reasons: Mapping[str, str]
    figure: Figure | None
    reference: str | None


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
    started = time.perf_counter()
    predictor_of = _predictors(spec, published, content)
    signature = manifest_signature(content)
    choice = EngineChoice(spec.engine, spec.loss)
    selector = Selector(published, content, choice, folder, lambda rows: predictor_of(signature).example_arrays(rows))
    selected = selector.select()
    predictor = predictor_of(selected.engine.signature)
    _warm_up(predictor, selected.engine, spec.max_batch_rows or MAX_BATCH_ROWS)
    log.info(
        "loaded %s",
        _title(spec),
        extra={
            "engine": selected.engine.variant,
            "reasons": dict(selected.reasons),
            "comparedWith": selected.reference,
            "digest": published.reference.digest,
            "seconds": round(time.perf_counter() - started, 3),
        },
    )
    return LoadedModel(predictor, selected.engine, selected.reasons, selected.figure, selected.reference)


def _predictors(spec: InferServe, published: PublishedVersion, content: ModelContent) -> Callable[[EngineSignature], Predictor]:
    """Makes what translates for the version, by its transform where it has one, for a program of some signature."""
    version = ServedVersion(spec.name, published.reference.version, published.reference.digest, spec.model.name)
    if published.manifest.file(TRANSFORM) is None:
        return lambda signature: TensorPredictor(version, content, signature)
    transform = _transform(published)
    return lambda signature: TabularPredictor(version, content, transform, signature)


def _transform(published: PublishedVersion) -> Transform:
    try:
        return Transform.model_validate_json(published.read(TRANSFORM))
    except ValidationError as error:
        raise BadData(f"its {TRANSFORM} cannot be read by this release: {error.errors()[0]['msg']}") from error


def _warm_up(predictor: Predictor, engine: Engine, max_batch_rows: int) -> None:
    """Real inferences: memory is taken and kernels are chosen before the first caller comes."""
    sizes = [rows for rows in PREPARED_ROWS if 1 < rows < max_batch_rows]
    end = time.perf_counter() + WARM_UP_SECONDS
    for rows in (1, max_batch_rows, *sizes):
        if rows not in (1, max_batch_rows) and time.perf_counter() > end:
            continue
        predictor.tensors(engine.run(predictor.example_arrays(rows)), rows, predictor.output_names)


def _title(spec: InferServe) -> str:
    return f"version {spec.model.version} of model '{spec.model.name}'"


def _one_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]
