"""Gives a version its engine: who could run it, how fast they are, which one serves, opened and seen to be right.

Figures that an earlier pod of the same kind left are used, or those of another version that is as large; otherwise the
candidates are measured, and the figures left for the next. A candidate that is alone is not measured. What agrees in a trial is
compared once more in the process that serves.
"""

import fcntl
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from windlass_core.errors import BadData
from windlass_core.manifests import ModelContent, TensorDescription
from windlass_core.registry import PublishedVersion
from windlass_core.scratch import shared_scratch
from windlass_infer.engine import Arrays, Engine, EngineSignature, TensorSignature
from windlass_infer.engines import figures as sidecar
from windlass_infer.engines.agreement import difference, tolerated
from windlass_infer.engines.candidates import Candidate, EngineChoice, Field, field
from windlass_infer.engines.decision import Decision, decide
from windlass_infer.engines.failures import broken, first_line
from windlass_infer.engines.figures import Figure, Figures
from windlass_infer.engines.machine import Machine, this_machine
from windlass_infer.engines.opening import open_engine
from windlass_infer.engines.relatives import of_relative
from windlass_infer.engines.samples import Sample, read_sample, repeated
from windlass_infer.engines.tournament import compete
from windlass_infer.engines.trial import answers

# Rows to compare and measure with, where the version has no sample.
EXAMPLE_ROWS = 16
ALONE = "the only one that can run it here"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """An engine for a version.

    Attributes:
        engine: opened.
        reasons: by variant, why it serves or why it does not.
        figure: what was measured of it; None where it was alone.
        reference: what answers were compared with; None where nothing was recorded and nobody else answered.
    """

    engine: Engine
    reasons: Mapping[str, str]
    figure: Figure | None
    reference: str | None


class Selector:
    """Selects for one version.

    Args:
        published: the version.
        content: what its manifest says.
        choice: what the spec asks for and allows.
        folder: for its files.
        example: gives so many rows that the version answers, where it has no sample.
        machine: where it is to run.
    """

    def __init__(
        self,
        published: PublishedVersion,
        content: ModelContent,
        choice: EngineChoice,
        folder: Path,
        example: Callable[[int], Arrays],
        machine: Machine | None = None,
    ) -> None:
        self._published = published
        self._content = content
        self._choice = choice
        self._folder = folder
        self._example = example
        self._machine = machine or this_machine()
        self._signature = manifest_signature(content)
        self._programs: dict[str, Path] = {}

    def select(self) -> Selection:
        """The engine that serves.

        Raises:
            BadData: with reason ModelLoadFailed when none can run the version, saying why for each.
            DigestMismatch: a file of the version is not as it was published.
            Unavailable: the store does not answer.
        """
        texts = any(tensor.datatype == "BYTES" for tensor in (*self._content.inputs, *self._content.outputs))
        taking = field(self._choice, self._content.formats, self._machine, texts=texts)
        if not taking.candidates:
            raise broken(f"{self._published.reference.uri} has {_formats(self._content)}; {_why_none(taking)}")
        if len(taking.candidates) == 1:
            [candidate] = taking.candidates
            engine = self._open(candidate)
            reference = None if self._sample.outputs is None else sidecar.RECORDED
            return Selection(engine, {**taking.refused, candidate.variant: ALONE}, None, reference)
        measured = self._figures(taking.candidates)
        return self._first_that_opens(taking, measured, decide(measured.engines, taking.refused, self._choice))

    def _first_that_opens(self, taking: Field, measured: Figures, decision: Decision) -> Selection:
        reasons = dict(decision.reasons)
        if measured.measured_on is not None:
            for variant in decision.ranking:
                reasons[variant] += f" (measured on version {measured.measured_on}, which is as large)"
        by_variant = {candidate.variant: candidate for candidate in taking.candidates}
        for variant in decision.ranking:
            try:
                engine = self._open(by_variant[variant])
            except BadData as error:
                log.warning("%s was chosen, but cannot serve: %s", variant, error.message)
                reasons[variant] = error.message
            else:
                return Selection(engine, reasons, measured.of(variant), measured.reference)
        failures = "; ".join(f"{candidate.variant}: {reasons[candidate.variant]}" for candidate in taking.candidates)
        raise broken(f"no engine can serve {self._published.reference.uri}: {failures}")

    def _open(self, candidate: Candidate) -> Engine:
        """The engine, if it answers the sample as it should."""
        try:
            engine = open_engine(
                candidate.variant, self._program(candidate.format), self._signature, repeated(self._sample.inputs, 2)
            )
        except ImportError as error:
            raise broken(f"{candidate.engine} cannot be loaded: {first_line(error)}") from error
        if self._sample.outputs is not None:
            apart = difference(answers(engine, self._sample.inputs), self._sample.outputs)
            allowed = tolerated(self._choice.loss if candidate.lossy else None)
            if not apart <= allowed:
                engine.close()
                raise broken(
                    f"{candidate.variant} differs by {apart:.2g} from what torch answered when the version was published, "
                    f"and {allowed:.2g} is tolerated"
                )
        return engine

    def _figures(self, candidates: tuple[Candidate, ...]) -> Figures:
        """Those that an earlier pod left, those of a version that is as large where answers can be compared, or new ones."""
        where = sidecar.circumstances(self._published, candidates, self._choice, self._machine)
        if known := sidecar.read(self._published, where):
            return known
        with _alone(where.key):
            # Another process of this pod may have measured while this one waited.
            if known := sidecar.read(self._published, where):
                return known
            if self._sample.outputs is not None and (known := of_relative(self._published, where)):
                log.info("version %d is as large, so its figures of the engines are used", known.measured_on)
                sidecar.write(self._published, known)
                return known
            programs = {candidate.format: self._program(candidate.format) for candidate in candidates}
            with tempfile.TemporaryDirectory(prefix="trial-", dir=self._folder) as scratch:
                measured = compete(candidates, programs, self._signature, self._sample, where, Path(scratch))
            sidecar.write(self._published, measured)
        log.info("measured the engines", extra={"figures": measured.model_dump(mode="json", exclude={"circumstances"})})
        return measured

    @cached_property
    def _sample(self) -> Sample:
        if self._content.sample is None:
            return Sample(self._example(EXAMPLE_ROWS))
        return read_sample(self._published.read(self._content.sample), self._signature)

    def _program(self, format_: str) -> Path:
        """The file of a format, read once."""
        if format_ not in self._programs:
            path = self._content.formats[format_]
            self._programs[format_] = self._published.download(path, self._folder / Path(path).name)
        return self._programs[format_]


def manifest_signature(content: ModelContent) -> EngineSignature:
    """What the manifest says that the program takes and gives."""
    return EngineSignature(_signatures(content.inputs), _signatures(content.outputs))


def _signatures(tensors: list[TensorDescription]) -> tuple[TensorSignature, ...]:
    return tuple(TensorSignature(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


@contextmanager
def _alone(key: str) -> Iterator[None]:
    """One process of a pod at a time: two that measure at once would measure one another."""
    with (shared_scratch() / f"windlass-engines-{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _formats(content: ModelContent) -> str:
    return f"the formats {', '.join(sorted(content.formats))}" if content.formats else "no program"


def _why_none(taking: Field) -> str:
    """Why nobody takes part, in as few words as possible: those that the spec does not ask for need none."""
    variants: dict[str, list[str]] = {}
    for variant, reason in taking.refused.items():
        if not reason.startswith("the spec asks for"):
            variants.setdefault(reason, []).append(variant)
    return "no engine can run it here: " + "; ".join(f"{reason} ({', '.join(of)})" for reason, of in variants.items())
