"""A process that goes on refusing asks for relief, and a part of what it refused leaves when others have room."""

import socket
from dataclasses import dataclass, field

import pytest

from windlass_core.lasting import BURST_SECONDS, OVER_SECONDS
from windlass_core.processes.crew import Crew, Give
from windlass_core.relief import ASK_SECONDS, LEAVING_AT_MOST, Relief


class Asking(Crew):
    def __init__(self) -> None:
        super().__init__()
        self.refused: list[float] = []

    def busy(self, refused: float) -> None:
        self.refused.append(refused)


@dataclass
class Connection:
    number: int
    may: bool = True
    left: list[int] = field(default_factory=list)

    def leave(self, _give: Give) -> bool:
        if self.may:
            self.left.append(self.number)
        return self.may


class Loop:
    """An event loop whose time is told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.crew = Asking()
        self.answered = 0
        self.relief = Relief(self.crew, lambda: self.answered, clock=lambda: self.now)
        self.left: list[int] = []

    def refuse(self, number: int, *, times: int = 1, seconds: float = 0.0, may: bool = True) -> None:
        for count in range(times):
            self.relief.refused(Connection(number + count, may, self.left))
            self.now += seconds


def give(_connection: socket.socket) -> bool:
    raise AssertionError("these connections have no socket")


@pytest.mark.parametrize(
    ("times", "seconds", "asked"),
    [
        pytest.param(1000, 0.0, 0, id="a burst is none, however many are refused"),
        pytest.param(10, BURST_SECONDS / 20, 0, id="nor is what is over soon"),
        pytest.param(25, BURST_SECONDS / 4, 3, id="refusals that go on are, and it is asked for again and again"),
        pytest.param(6000, BURST_SECONDS / 1000, 3, id="but not with each"),
        pytest.param(9, OVER_SECONDS, 0, id="a refusal now and then is none"),
    ],
)
def test_relief_is_asked_for_when_refusals_go_on(times: int, seconds: float, asked: int) -> None:
    assert ASK_SECONDS == 2 * BURST_SECONDS
    loop = Loop()
    loop.refuse(0, times=times, seconds=seconds)
    assert len(loop.crew.refused) == asked


def test_the_share_that_was_refused_since_it_was_said_last_is_said() -> None:
    loop = Loop()
    for refused, answered in ((2, 8), (3, 3), (1, 100)):
        loop.refuse(0, times=refused - 1)
        loop.answered += answered
        loop.now += 2 * BURST_SECONDS
        loop.refuse(0)
    assert loop.crew.refused == pytest.approx([2 / 8, 3 / 3, 1 / 100])


def test_a_quarter_of_those_refused_leaves_the_last_first() -> None:
    loop = Loop()
    loop.refuse(0, times=12)
    loop.relief.give(give)
    assert loop.left == [11, 10, 9]
    loop.relief.give(give)
    assert loop.left == [11, 10, 9], "what was refused before has been seen"


def test_one_leaves_at_least_and_never_many() -> None:
    loop = Loop()
    loop.refuse(0)
    loop.relief.give(give)
    assert loop.left == [0]
    loop.refuse(0, times=1000)
    loop.relief.give(give)
    assert len(loop.left) == 1 + LEAVING_AT_MOST


def test_in_the_place_of_one_that_cannot_leave_goes_another() -> None:
    loop = Loop()
    loop.refuse(0, times=7)
    loop.refuse(7, may=False)
    loop.relief.give(give)
    assert loop.left == [6, 5]
