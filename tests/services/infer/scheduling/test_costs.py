"""The fit of what batches take: found from noise, safe for nineteen of twenty, and quick to forget what is no longer so."""

import random
from collections.abc import Callable

import pytest

from windlass_infer.scheduling.costs import CHANGE_BATCHES, MANY_ROWS, CostModel

A, B = 0.002, 0.001
Noise = Callable[[random.Random], float]


def fed(
    model: CostModel, batches: int, *, noise: float = 0.05, times: float = 1.0, sizes: tuple[int, int] = (1, 16), seed: int = 1
) -> CostModel:
    dice = random.Random(seed)  # noqa: S311  # drawn times, no secret
    for _ in range(batches):
        rows = dice.randint(*sizes)
        model.observe(rows, times * (A * rows + B) * dice.uniform(1 - noise, 1 + noise))
    return model


@pytest.mark.parametrize("prior", [0.2, 1.0, 10.0], ids=["a prior too fast", "a right one", "one too slow"])
def test_rows_and_batches_are_told_apart_from_noise(prior: float) -> None:
    model = fed(CostModel(prior * A, prior * B), 200)
    assert model.seconds_per_row == pytest.approx(A, rel=0.05)
    assert model.expected(16) == pytest.approx(16 * A + B, rel=0.03)


def test_the_margin_covers_nineteen_of_twenty_batches() -> None:
    model = fed(CostModel(A, B), 500, noise=0.3)
    dice = random.Random(9)  # noqa: S311  # as above
    below = 0
    for _ in range(2000):
        rows = dice.randint(1, 16)
        seconds = (A * rows + B) * dice.uniform(0.7, 1.3)
        below += seconds <= model.seconds(rows)
        model.observe(rows, seconds)
    assert 0.92 <= below / 2000 <= 0.98


@pytest.mark.parametrize("times", [4.0, 0.25], ids=["four times slower", "four times faster"])
def test_a_change_of_the_machine_is_learned_within_a_dozen_batches(times: float) -> None:
    model = fed(CostModel(A, B), 500)
    fed(model, CHANGE_BATCHES + 4, times=times, seed=2)
    assert model.expected(16) == pytest.approx(times * (16 * A + B), rel=0.1)


def test_one_pause_of_the_machine_is_no_change() -> None:
    model = fed(CostModel(A, B), 200)
    model.observe(8, 100 * model.expected(8))
    assert model.expected(8) == pytest.approx(8 * A + B, rel=0.15)


def test_batches_of_one_size_leave_the_slope_as_it_was() -> None:
    model = fed(CostModel(A, B), 300, sizes=(4, 4))
    assert model.seconds_per_row == pytest.approx(A, rel=0.02)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 5e-7], ids=["no time at all", "a nanosecond", "half a microsecond"])
def test_nothing_becomes_negative_or_infinite(seconds: float) -> None:
    model = CostModel(0.0, 0.0)
    for rows in (1, 7, 3, 128) * 10:
        model.observe(rows, seconds)
    assert model.seconds_per_row >= 0
    assert model.seconds_per_batch > 0
    assert 0 < model.rate(1) < float("inf")


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [(0.0, 0), (B, 0), (float("inf"), MANY_ROWS), (1e12, MANY_ROWS)],
    ids=["no time", "only the time that a batch takes without rows", "time without end", "nearly so"],
)
def test_rows_within_a_time(seconds: float, rows: int) -> None:
    assert CostModel(A, B).rows_within(seconds) == rows


def test_as_many_rows_fit_into_a_time_as_a_batch_of_them_takes() -> None:
    model = fed(CostModel(A, B), 100)
    for rows in range(1, 200):
        assert model.rows_within(model.seconds(rows)) == rows


def test_many_rows_take_as_long_as_their_batches() -> None:
    model = CostModel(A, B)
    whole = model.seconds_in_batches(160, 16)
    assert whole == pytest.approx(10 * (16 * A + B) + (model.margin - 1) * (16 * A + B))
    assert model.seconds_in_batches(0, 16) == 0
    assert model.seconds_in_batches(16, 16) == model.seconds(16)
