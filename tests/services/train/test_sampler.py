"""Which rows updates learn from: each row once a pass, the same for any number of workers, from any position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from windlass_train.sampler import Position, Sampler, share

sizes = {"rows": some.integers(1, 300), "batch_size": some.integers(1, 70), "seed": some.integers(0, 2**31 - 1)}


@given(**sizes, epoch=some.integers(0, 5))
def test_a_pass_takes_every_row_once(rows: int, batch_size: int, seed: int, epoch: int) -> None:
    sampler = Sampler(rows=rows, batch_size=batch_size, seed=seed)
    position = Position(epoch=epoch)
    taken: list[int] = []
    while position.epoch == epoch:
        taken += sampler.batch(position).tolist()
        position = sampler.after(position)
    assert sorted(taken) == list(range(rows))


@given(**sizes)
def test_every_update_of_a_pass_but_the_last_has_exactly_the_batch_size(rows: int, batch_size: int, seed: int) -> None:
    sampler = Sampler(rows=rows, batch_size=batch_size, seed=seed)
    position, counts = Position(), []
    while position.epoch == 0:
        counts.append(len(sampler.batch(position)))
        position = sampler.after(position)
    assert counts[:-1] == [batch_size] * (len(counts) - 1)
    assert len(counts) == position.step == sampler.steps_per_epoch


@given(**sizes, steps=some.integers(0, 40))
def test_a_new_sampler_goes_on_where_another_stopped(rows: int, batch_size: int, seed: int, steps: int) -> None:
    first = Sampler(rows=rows, batch_size=batch_size, seed=seed)
    position = Position()
    for _ in range(steps):
        first.batch(position)
        position = first.after(position)
    second = Sampler(rows=rows, batch_size=batch_size, seed=seed)
    np.testing.assert_array_equal(first.batch(position), second.batch(position))


@given(count=some.integers(0, 200), world_size=some.integers(1, 40))
def test_workers_share_a_batch_out_without_loss_and_evenly(count: int, world_size: int) -> None:
    rows = np.random.default_rng(0).permutation(count)
    shares = [share(rows, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(count))
    lengths = [len(part) for part in shares]
    assert max(lengths) - min(lengths) <= 1


def test_passes_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(Sampler(rows=50, batch_size=50, seed=seed).batch(Position(epoch=epoch))) for seed in (0, 1) for epoch in (0, 1, 2)
    }
    assert len(orders) == 6


@pytest.mark.parametrize(("rows", "batch_size"), [(0, 1), (1, 0)])
def test_nothing_to_take_is_an_error(rows: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Sampler(rows=rows, batch_size=batch_size, seed=0)
