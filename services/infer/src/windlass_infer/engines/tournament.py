"""Measures all candidates for a version on this machine, one after the other, those of each library in a process of its own.

Knows no store and decides nothing.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from windlass_infer.engine import Arrays, EngineSignature
from windlass_infer.engines.agreement import difference
from windlass_infer.engines.candidates import BY_VARIANT, Candidate
from windlass_infer.engines.figures import RECORDED, Circumstances, Figure, Figures
from windlass_infer.engines.samples import Sample, read_arrays, write_arrays
from windlass_infer.engines.timing import fit
from windlass_infer.engines.trial import Request, Result
from windlass_infer.engines.trial_process import TrialProcess

# Seconds for one candidate: torch alone takes ten to import when its files are cold. Twice that means that it hangs.
TRIAL_SECONDS = 20.0
# Seconds after which no further candidate is tried, so that a version is not kept from serving for the sake of speed.
ALL_SECONDS = 40.0

# Whose answers are right where none are recorded, the first that answers.
REFERENCES = {
    "torch": "eager torch, as it answers here",
    "onnxruntime": "ONNX Runtime in float32, as it answers here",
    "openvino": "OpenVINO in float32, as it answers here",
}


def compete(
    candidates: Sequence[Candidate],
    programs: Mapping[str, Path],
    signature: EngineSignature,
    sample: Sample,
    where: Circumstances,
    folder: Path,
) -> Figures:
    """Measure the candidates.

    Args:
        candidates: who takes part.
        programs: the file of each of their formats.
        signature: what the manifest says of the program.
        sample: rows to answer.
        where: what the figures depend on.
        folder: for files that pass between processes.
    """
    started = time.perf_counter()
    inputs = folder / "inputs.npz"
    write_arrays(sample.inputs, inputs)
    requests = [
        Request(
            candidate.variant,
            str(programs[candidate.format]),
            signature,
            str(inputs),
            answers=str(folder / f"{candidate.variant}.answers.npz"),
            result=str(folder / f"{candidate.variant}.result.json"),
        )
        for candidate in candidates
    ]
    results: dict[str, Result] = {}
    for own in _by_library(requests):
        with TrialProcess(folder, TRIAL_SECONDS) as process:
            for request in own:
                late = time.perf_counter() - started > ALL_SECONDS
                results[request.variant] = _too_late() if late else process.attempt(request)
    answers = {
        request.variant: read_arrays(Path(request.answers)) for request in requests if results[request.variant].failure is None
    }
    reference, expected = _reference(sample, answers)
    figures = [_figure(variant, result, answers.get(variant), expected) for variant, result in results.items()]
    seconds = round(time.perf_counter() - started, 3)
    return Figures(circumstances=where, reference=reference, seconds=seconds, engines=figures)


def _by_library(requests: Sequence[Request]) -> Iterable[list[Request]]:
    """Those of each library together, in the order of its first."""
    own: dict[str, list[Request]] = {}
    for request in requests:
        own.setdefault(BY_VARIANT[request.variant].engine, []).append(request)
    return own.values()


def _too_late() -> Result:
    return Result({}, 0.0, f"{ALL_SECONDS:.0f} s of measuring were over before its turn", late=True)


def _reference(sample: Sample, answers: Mapping[str, Arrays]) -> tuple[str, Arrays | None]:
    """What is right, and how it is known; None when nobody answered."""
    if sample.outputs is not None:
        return RECORDED, sample.outputs
    for variant, sentence in REFERENCES.items():
        if variant in answers:
            return sentence, answers[variant]
    return "nothing: no engine in float32 answered", None


def _figure(variant: str, result: Result, answered: Arrays | None, expected: Arrays | None) -> Figure:
    if result.failure is not None or answered is None or expected is None:
        failure = result.failure or "there is nothing to compare its answers with"
        return Figure(variant=variant, load_seconds=result.load_seconds, failure=failure, late=result.late)
    per_row, per_batch = fit(result.seconds)
    apart = difference(answered, expected)
    return Figure(
        variant=variant,
        rows_per_second={rows: rows / seconds for rows, seconds in result.seconds.items()},
        seconds_per_row=per_row,
        seconds_per_batch=per_batch,
        difference=apart if apart != float("inf") else None,
        load_seconds=result.load_seconds,
        failure=None if apart != float("inf") else "its answers have other shapes, or numbers that are not finite",
    )
