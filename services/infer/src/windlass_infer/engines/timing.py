"""How fast an engine is: short windows, of which the fastest counts. Bounded in time.

The fastest window is what the engine can do; slower ones are what else the machine did meanwhile.
"""

import time
from collections.abc import Mapping, Sequence

from windlass_infer.engine import Arrays, Engine
from windlass_infer.engines.samples import repeated

# Rows in a batch: one caller, some, many. Beyond the last the fixed cost of a run is spread thin for every engine.
BATCHES = (1, 8, 32)
# Seconds of one window: long against the clock and a call, short against the slice of time that a neighbour gets.
WINDOW_SECONDS = 0.01
WINDOWS = 9
# Seconds after which no further window of a batch size begins, and no larger batch size.
BATCH_SECONDS = 0.4
# Runs before the first window: memory is taken and kernels are chosen.
WARM_UP_RUNS = 2


def measure(engine: Engine, inputs: Arrays, batches: Sequence[int] = BATCHES) -> dict[int, float]:
    """Seconds of one run by rows in a batch; without the sizes beyond one that took longer than BATCH_SECONDS alone."""
    seconds: dict[int, float] = {}
    for rows in batches:
        batch = repeated(inputs, rows)
        for _ in range(WARM_UP_RUNS):
            alone = _window(engine, batch, 1)
        if alone > BATCH_SECONDS:
            seconds[rows] = alone  # longer than all windows together are to be
            break
        seconds[rows] = _fastest(engine, batch, alone)
    return seconds


def fit(seconds: Mapping[int, float]) -> tuple[float, float]:
    """a and b of seconds = a * rows + b, by least squares on relative errors; neither is negative.

    Relative, because a small batch that takes microseconds says as much of b as a large one says of a.
    """
    weights = {rows: 1 / value**2 for rows, value in seconds.items()}
    total = sum(weights.values())
    mean_rows = sum(weights[rows] * rows for rows in seconds) / total
    mean_seconds = sum(weights[rows] * value for rows, value in seconds.items()) / total
    spread = sum(weights[rows] * (rows - mean_rows) ** 2 for rows in seconds)
    if not spread:
        return 0.0, mean_seconds
    slope = sum(weights[rows] * (rows - mean_rows) * (value - mean_seconds) for rows, value in seconds.items()) / spread
    if slope <= 0:
        return 0.0, mean_seconds
    if slope * mean_rows >= mean_seconds:
        # A line through nothing: the weighted least squares slope without b.
        return sum(weights[rows] * rows * value for rows, value in seconds.items()) / sum(
            weights[rows] * rows**2 for rows in seconds
        ), 0.0
    return slope, mean_seconds - slope * mean_rows


def _fastest(engine: Engine, batch: Arrays, estimate: float) -> float:
    runs = max(1, round(WINDOW_SECONDS / estimate))
    end = time.perf_counter() + BATCH_SECONDS
    fastest = estimate
    for _ in range(WINDOWS):
        fastest = min(fastest, _window(engine, batch, runs))
        if time.perf_counter() > end:
            break
    return fastest


def _window(engine: Engine, batch: Arrays, runs: int) -> float:
    """Seconds of one of `runs` runs."""
    started = time.perf_counter()
    for _ in range(runs):
        engine.run(batch)
    return (time.perf_counter() - started) / runs
