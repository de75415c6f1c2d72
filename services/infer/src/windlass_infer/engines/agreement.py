"""Whether two programs answer alike: how far apart they are, and how far they may be. Pure."""

import numpy as np

from windlass_infer.engine import Array, Arrays

# Largest difference that float32 sums in another order explain, relative to the largest answer (at least 1: probabilities);
# the same by which ONNX is compared with torch when a version is published.
ROUNDING = 1e-4


def difference(answers: Arrays, expected: Arrays) -> float:
    """How far answers are from those expected, over all outputs: the largest of each output's.

    For numbers with a fraction the largest absolute difference, as a share of the largest expected one or of 1 if that is less;
    for all others the share of values that are not the same. Infinite where shapes or names differ, or a number is not finite.
    """
    if answers.keys() != expected.keys():
        return float("inf")
    return max((_of_output(answers[name], values) for name, values in expected.items()), default=float("inf"))


def tolerated(loss: float | None) -> float:
    """How large a difference may be: rounding always, more where a loss is allowed."""
    return max(ROUNDING, loss or 0.0)


def _of_output(answer: Array, expected: Array) -> float:
    if answer.shape != expected.shape or answer.dtype != expected.dtype:
        return float("inf")
    if expected.dtype.kind != "f":
        return float(np.mean(answer != expected)) if expected.size else 0.0
    apart = np.abs(answer.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    largest = np.abs(expected.astype(np.float64)).max(initial=0.0)
    share = float(apart / max(1.0, largest))
    return share if np.isfinite(share) else float("inf")
