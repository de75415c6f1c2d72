"""What is known of the engines for a version on one kind of machine: values, and their place beside the version in the store.

    models/<name>/<version>/engines/<key>.json

The key is a digest of all that the figures depend on. They are hints and no part of the version: whoever finds them broken or
made for something else measures again. Which engine may serve at all is decided anew each time.
"""

import hashlib
import logging
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from windlass_core.errors import NotFound, WindlassError
from windlass_core.registry import PublishedVersion
from windlass_infer.engines.candidates import Candidate, EngineChoice
from windlass_infer.engines.machine import THREADS, Machine

# Raised when measuring changes so that figures cannot be compared with earlier ones.
METHOD = 1
FOLDER = "engines"
# What answers are compared with where the version has a sample.
RECORDED = "eager torch, recorded when the version was published"
# A sidecar is a few kilobytes; something larger is none.
MAX_BYTES = 256 * 1024

log = logging.getLogger(__name__)


class _Value(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Figure(_Value):
    """One engine on one version.

    seconds = seconds_per_row * rows + seconds_per_batch, fitted over the batch sizes that were measured.
    """

    variant: str
    rows_per_second: dict[int, float] = Field(default_factory=dict, description="By rows in a batch.")
    seconds_per_row: float = Field(default=0.0, ge=0)
    seconds_per_batch: float = Field(default=0.0, ge=0)
    difference: float | None = Field(default=None, ge=0, description="From the reference, as agreement.difference says.")
    load_seconds: float = Field(default=0.0, ge=0, description="From a loaded library to an engine that answered once.")
    failure: str | None = Field(default=None, description="Why it could not be measured, in a sentence.")
    late: bool = Field(default=False, description="Whether it failed for want of time, of which another pod may have more.")


class Circumstances(_Value):
    """All that figures depend on."""

    method: int = METHOD
    digest: str = Field(description="Of the version's manifest.")
    cpu: str
    gpu: bool
    libraries: dict[str, str]
    candidates: list[str]
    loss: float | None
    threads: int = THREADS

    @property
    def key(self) -> str:
        """A name for these circumstances."""
        return hashlib.sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()[:24]


class Figures(_Value):
    """All engines of one version in the same circumstances, measured in the same run."""

    circumstances: Circumstances
    reference: str = Field(description="What answers were compared with.")
    seconds: float = Field(ge=0, description="How long measuring took.")
    engines: list[Figure]
    measured_on: int | None = Field(default=None, description="Number of the version that was measured; None: this one.")

    def of(self, variant: str) -> Figure | None:
        """The figure of a variant."""
        return next((figure for figure in self.engines if figure.variant == variant), None)


def circumstances(
    published: PublishedVersion, candidates: tuple[Candidate, ...], choice: EngineChoice, machine: Machine
) -> Circumstances:
    """What figures of these candidates depend on."""
    libraries: Mapping[str, str] = machine.libraries
    return Circumstances(
        digest=published.reference.digest,
        cpu=machine.kind,
        gpu=machine.gpu,
        libraries={name: libraries[name] for name in sorted({candidate.engine for candidate in candidates})},
        candidates=[candidate.variant for candidate in candidates],
        loss=choice.loss,
    )


def read(published: PublishedVersion, wanted: Circumstances) -> Figures | None:
    """Figures that an earlier pod left; None when there are none that can be used."""
    path = _path(published, wanted)
    try:
        if published.store.head(path).bytes > MAX_BYTES:
            log.warning("the figures of engines in %s are too large to be ours, so they are measured again", path)
            return None
        figures = Figures.model_validate_json(published.store.read(path))
    except NotFound:
        return None
    except ValidationError as error:
        log.warning(
            "the figures of engines in %s cannot be read, so they are measured again: %s", path, error.errors()[0]["msg"]
        )
        return None
    if figures.circumstances != wanted or {figure.variant for figure in figures.engines} != set(wanted.candidates):
        log.warning("the figures of engines in %s were made for something else, so they are measured again", path)
        return None
    return figures


def write(published: PublishedVersion, figures: Figures) -> None:
    """Leave figures for the next pod; a store that takes none, or is away, costs that pod a few seconds and nothing else.

    Figures that lack an engine for want of time are not left: a busy moment must not decide for all pods to come.
    """
    if any(figure.late for figure in figures.engines):
        log.warning("not all engines could be measured in time, so the next pod measures them again")
        return
    path = _path(published, figures.circumstances)
    try:
        published.store.write(path, figures.model_dump_json(by_alias=True, indent=1).encode())
    except WindlassError as error:
        log.warning("the figures of engines could not be kept in %s: %s", path, error.message)


def _path(published: PublishedVersion, wanted: Circumstances) -> str:
    return f"{published.folder}/{FOLDER}/{wanted.key}.json"
