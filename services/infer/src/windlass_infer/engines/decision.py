"""Which of the measured engines serves: the fastest of those that agree. Pure; measuring is somebody else's.

Speed is one number over all batch sizes, the geometric mean of rows a second: an engine that is twice as fast at one size and
half as fast at another is not better.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from windlass_infer.engines.agreement import tolerated
from windlass_infer.engines.candidates import BY_VARIANT, CANDIDATES, EngineChoice
from windlass_infer.engines.figures import Figure

# A candidate must be so much faster than one before it in the order of preference; less is the noise of a shared machine.
LEAD = 1.05


@dataclass(frozen=True)
class Decision:
    """Variants that may serve, the one that should first, and why each of the others stands behind or does not serve at all."""

    ranking: tuple[str, ...]
    reasons: Mapping[str, str]


def decide(figures: Sequence[Figure], refused: Mapping[str, str], choice: EngineChoice) -> Decision:
    """Rank what was measured.

    Args:
        figures: one for each candidate that took part.
        refused: why each of the others did not.
        choice: what the spec asks for and allows.
    """
    reasons = dict(refused)
    fit: list[Figure] = []
    for figure in figures:
        if reason := _unfit(figure, choice):
            reasons[figure.variant] = reason
        else:
            fit.append(figure)
    order = {candidate.variant: place for place, candidate in enumerate(CANDIDATES)}
    fit.sort(key=lambda figure: order[figure.variant])
    ranking = _ranked(fit)
    for place, figure in enumerate(ranking):
        reasons[figure.variant] = _standing(figure, ranking[0], place)
    return Decision(tuple(figure.variant for figure in ranking), reasons)


def speed(figure: Figure) -> float:
    """Rows a second, the geometric mean over batch sizes; 0 where nothing was measured."""
    rates = list(figure.rows_per_second.values())
    return math.exp(math.fsum(map(math.log, rates)) / len(rates)) if rates and min(rates) > 0 else 0.0


def _unfit(figure: Figure, choice: EngineChoice) -> str | None:
    if figure.failure is not None:
        return figure.failure
    if not figure.rows_per_second or figure.difference is None:
        return "it was not measured"
    allowed = tolerated(choice.loss if BY_VARIANT[figure.variant].lossy else None)
    if not figure.difference <= allowed:
        return f"its answers differ by {figure.difference:.2g}, and {allowed:.2g} is tolerated"
    return None


def _ranked(fit: Sequence[Figure]) -> list[Figure]:
    """Fastest first; of two within LEAD of one another the one that is preferred."""
    left, ranking = list(fit), []
    while left:
        best = left[0]
        for figure in left[1:]:
            if speed(figure) > LEAD * speed(best):
                best = figure
        left.remove(best)
        ranking.append(best)
    return ranking


def _standing(figure: Figure, first: Figure, place: int) -> str:
    rates = ", ".join(f"{rate:,.0f} at {rows}" for rows, rate in sorted(figure.rows_per_second.items()))
    if place == 0:
        return f"the fastest that agrees: rows/s by batch {rates}; it differs by {figure.difference:.2g}"
    return f"{speed(figure) / speed(first):.2f} times as fast as {first.variant}: rows/s by batch {rates}"
