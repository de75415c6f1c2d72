"""What a process has loaded: which version answers, which are kept for the way back, and which must go."""

from dataclasses import dataclass
from typing import Any

import pytest

from windlass_core.errors import Conflict, NotFound
from windlass_infer.predictor import ServedVersion
from windlass_infer.table import KEPT_FAILURES, State, Table

KEPT_BYTES = 100


@dataclass(eq=False)
class StubServing:
    """What a table knows of a version."""

    version: ServedVersion
    bytes: int

    def __repr__(self) -> str:
        return f"{self.version.name} {self.version.number}"


def serving(number: int, size: int = 40, name: str = "net") -> Any:
    return StubServing(ServedVersion(name, number, f"sha256:{number}", name), size)


class Bench:
    """A table, and all that it said to close."""

    def __init__(self) -> None:
        self.changes = 0
        self.table = Table(self._changed, kept_bytes=KEPT_BYTES)

    def _changed(self) -> None:
        self.changes += 1

    def install(self, *servings: Any) -> list[str]:
        return [str(dropped) for one in servings for dropped in self.table.install(one)]

    @property
    def loaded(self) -> list[str]:
        return [str(one) for one in self.table.servings]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_versions_are_kept_while_they_fit_and_the_one_that_answered_longest_ago_goes_first(bench: Bench) -> None:
    assert bench.install(serving(1), serving(2), serving(3)) == []
    assert bench.loaded == ["net 3", "net 2", "net 1"], "80 bytes are kept; what answers does not count"
    assert bench.install(serving(4)) == ["net 1"], "120 would be too many"
    assert bench.loaded == ["net 4", "net 3", "net 2"]


def test_a_version_that_answers_again_is_no_longer_the_one_to_go(bench: Bench) -> None:
    first, second, third = (serving(number) for number in (1, 2, 3))
    bench.install(first, second, first, third)
    assert bench.install(serving(4)) == ["net 2"]
    assert bench.loaded == ["net 4", "net 3", "net 1"]


@pytest.mark.parametrize(
    ("size", "dropped"),
    [(KEPT_BYTES, []), (KEPT_BYTES + 1, ["net 1"])],
    ids=["as large as the bound is kept", "larger than the bound goes at once"],
)
def test_the_bound_is_one_of_bytes(bench: Bench, size: int, dropped: list[str]) -> None:
    assert bench.install(serving(1, size), serving(2, 1)) == dropped


def test_several_small_ones_go_for_a_large_one(bench: Bench) -> None:
    small = [serving(number, 30) for number in (1, 2, 3)]
    assert bench.install(*small, serving(4, 90), serving(5)) == ["net 1", "net 2", "net 3"]
    assert bench.loaded == ["net 5", "net 4"]


def test_the_model_whose_version_has_changed_gives_up_its_own_and_never_those_of_others(bench: Bench) -> None:
    bench.install(serving(1, name="a"), serving(2, name="a"), serving(1, name="b"), serving(2, name="b"))
    assert bench.install(serving(3, name="b")) == ["b 1"]
    assert bench.install(serving(4, 70, name="b"), serving(5, name="b")) == ["b 2", "b 3", "b 4"]
    assert bench.loaded == ["a 2", "a 1", "b 5"]


def test_another_load_of_the_same_version_takes_the_place_of_the_first(bench: Bench) -> None:
    assert bench.install(serving(1), serving(1)) == ["net 1"]
    assert bench.install(serving(2), serving(1)) == ["net 1"], "that which was kept"
    assert bench.loaded == ["net 1", "net 2"]


def test_what_does_not_answer_is_asked_by_its_number_alone(bench: Bench) -> None:
    bench.install(serving(1), serving(2))
    assert str(bench.table.lookup("net")) == "net 2"
    assert str(bench.table.lookup("net", "1")) == "net 1"
    for version in ("3", "01x", "\u0661", "-1", ""):
        with pytest.raises(NotFound, match="this server has: 2, 1"):
            bench.table.lookup("net", version)


def test_removing_says_what_to_close_and_leaves_what_answers(bench: Bench) -> None:
    bench.install(serving(1), serving(2))
    with pytest.raises(Conflict):
        bench.table.remove("net", 2)
    assert [str(one) for one in bench.table.remove("net", 1)] == ["net 1"]
    with pytest.raises(NotFound):
        bench.table.remove("net", 1)
    assert [str(one) for one in bench.table.remove("net")] == ["net 2"]
    assert (bench.loaded, bench.changes) == ([], 4)


def test_failures_of_models_that_are_not_there_are_bounded_too(bench: Bench) -> None:
    bench.install(serving(1))
    for number in range(2 * KEPT_FAILURES):
        bench.table.failed(f"other-{number}", 1, "no program")
        bench.table.failed("net", 2 + number, "no program")
    entries = bench.table.index()
    assert [entry.state for entry in entries if entry.name == "net"].count(State.UNAVAILABLE) == KEPT_FAILURES
    assert len({entry.name for entry in entries}) == 1 + KEPT_FAILURES
    assert entries[0].state is State.READY
