"""A decision applies to a few requests of the same turn: to those with no more time, or with no less."""

import pytest

from windlass_infer.lanes.decided import ALIKE, ALIKE_SECONDS, Decided

QUICK = 1e-6


def test_who_has_no_more_time_than_one_that_was_refused_is_refused() -> None:
    decided = Decided()
    refused = decided.refuse(1, until=10.0, retry_after=2)
    assert [decided.refusal(1, deadline) for deadline in (9.0, 10.0, 10.1)] == [refused, refused, None]
    assert (refused.retry_after, decided.refused_alike) == (2, 2)
    assert decided.refusal(2, 9.0) is None, "in another turn all is decided anew"


def test_who_has_no_less_time_than_one_that_was_let_in_is_let_in() -> None:
    decided = Decided()
    decided.let_in(1, 10.0, QUICK)
    assert [decided.lets_in(1, deadline) for deadline in (9.9, 10.0, 11.0)] == [False, True, True]
    assert not decided.lets_in(2, 11.0)


def test_the_last_decision_counts() -> None:
    decided = Decided()
    decided.let_in(1, 10.0, QUICK)
    decided.refuse(1, until=12.0, retry_after=1)
    assert (decided.lets_in(1, 11.0), decided.refusal(1, 11.0) is None) == (False, False)
    decided.let_in(1, 11.0, QUICK)
    assert (decided.lets_in(1, 11.5), decided.refusal(1, 11.5)) == (True, None)
    assert decided.refusal(1, 10.9) is not None


@pytest.mark.parametrize(
    ("row_seconds", "others"), [(0.0, ALIKE), (QUICK, ALIKE), (ALIKE_SECONDS / 3, 3), (2 * ALIKE_SECONDS, 0)]
)
def test_no_more_are_let_in_alike_than_take_a_moment(row_seconds: float, others: int) -> None:
    decided = Decided()
    decided.let_in(1, 10.0, row_seconds)
    assert [decided.lets_in(1, 10.0) for _ in range(ALIKE + 5)].count(True) == others


def test_a_few_are_refused_alike() -> None:
    decided = Decided()
    decided.refuse(1, until=10.0, retry_after=1)
    assert sum(decided.refusal(1, 9.0) is not None for _ in range(ALIKE + 5)) == ALIKE
