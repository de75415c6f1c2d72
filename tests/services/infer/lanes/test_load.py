"""The load ratio: what is offered over what can be done, told early of more than there is room for, and late of nothing."""

import math

import pytest

from windlass_infer.lanes.load import LEAST_AGE_SECONDS, WINDOW_SECONDS, Load, Share

# A row of these costs takes 1.25 ms in full batches of eight: 800 rows a second are all that can be done.
SECONDS_PER_ROW, SECONDS_PER_BATCH, BATCH = 0.001, 0.002, 8
FULL_RATE = 800


def offered(rate: float, *, seconds: float, rows: int = 1, load: Load | None = None, begin: float = 0.0) -> Load:
    """Requests at an even pace, from `begin` on."""
    load = load or Load(begin)
    for number in range(int(rate * seconds / rows)):
        load.offer(rows, SECONDS_PER_ROW, SECONDS_PER_BATCH, BATCH, begin + number * rows / rate)
    return load


@pytest.mark.parametrize("age", [0.0, LEAST_AGE_SECONDS - 0.1], ids=["new", "seconds old"])
def test_a_process_that_has_just_begun_has_no_figure(age: float) -> None:
    assert Load(100.0).ratio(100.0 + age) is None


def test_a_process_that_nobody_asks_anything_has_the_figure_zero() -> None:
    assert Load(100.0).ratio(100.0 + LEAST_AGE_SECONDS) == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 3.0], ids="a share of {} of what can be done".format)
@pytest.mark.parametrize("rows", [1, 8], ids=["single rows", "full batches"])
@pytest.mark.parametrize("seconds", [LEAST_AGE_SECONDS, 60.0], ids=["young", "old"])
def test_it_is_the_share_of_what_can_be_done_also_beyond_all_of_it(share: float, rows: int, seconds: float) -> None:
    load = offered(share * FULL_RATE, seconds=seconds, rows=rows)
    assert load.ratio(seconds) == pytest.approx(share, rel=0.05)


def test_a_version_that_is_made_faster_lowers_it() -> None:
    slow, fast = Load(0.0), Load(0.0)
    for number in range(6000):
        slow.offer(1, 0.002, 0.0, BATCH, number / 100)
        fast.offer(1, 0.001, 0.0, BATCH, number / 100)
    assert slow.ratio(60.0) == pytest.approx(2 * (fast.ratio(60.0) or math.nan))


def test_what_is_longer_ago_than_the_window_weighs_less() -> None:
    load = offered(FULL_RATE, seconds=60.0)
    assert load.ratio(60.0 + WINDOW_SECONDS) == pytest.approx(1 / math.e, rel=0.05)
    offered(FULL_RATE, seconds=60.0, load=load, begin=60.0 + WINDOW_SECONDS)
    assert load.ratio(120.0 + WINDOW_SECONDS) == pytest.approx(1, rel=0.05)


def test_the_busier_of_engine_and_event_loop_counts() -> None:
    load = offered(0.2 * FULL_RATE, seconds=60.0)
    for second in range(60):
        load.loop_worked(0.9, float(second))
    assert load.ratio(60.0) == pytest.approx(0.9, rel=0.05)
    offered(FULL_RATE, seconds=60.0, load=load, begin=60.0)
    assert load.ratio(120.0) == pytest.approx(1, rel=0.05)


def test_a_clock_that_is_asked_for_an_earlier_time_forgets_nothing() -> None:
    share = Share(0.0)
    share.add(3.0, 10.0)
    before = share.value(10.0)
    share.add(0.0, 9.0)
    assert share.value(10.0) == before
