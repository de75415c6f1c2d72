"""Whether the workers of a pod may start again: a table of how they ended."""

from typing import Any

import pytest

from windlass_core.contracts import RunResult
from windlass_core.errors import BadConfiguration, BadData, BadDevice, Stopped, UserCodeError, WindlassError
from windlass_train.reports import Outcome
from windlass_train.restarts import Restarts


def ended(code: int, reason: str = "Why", message: str = "what happened") -> Outcome:
    return Outcome(exit_code=code, result=RunResult(outcome="Failed", reason=reason, message=message))


def allow(restarts: Restarts, *outcomes: Outcome, asked_to_stop: bool = False, called_back: bool = False) -> None:
    restarts.allow(outcomes, asked_to_stop=asked_to_stop, called_back=called_back)


AGAIN: dict[str, dict[str, Any]] = {
    "a worker crashed and the budget is not used up": {"most": 1, "outcomes": [ended(1)]},
    "a worker was killed and left nothing": {"most": 1, "outcomes": []},
    "another pod was told to leave, even without a budget": {"most": 0, "outcomes": [ended(44)]},
    "a new pod wants to join, even without a budget": {"most": 0, "outcomes": [], "called_back": True},
    "one of two workers had ended well when the other crashed": {"most": 1, "outcomes": [ended(0), ended(1)]},
}


@pytest.mark.parametrize("case", AGAIN.values(), ids=AGAIN.keys())
def test_workers_start_again_when(case: dict[str, Any]) -> None:
    flags = {name: value for name, value in case.items() if name not in ("most", "outcomes")}
    allow(Restarts(case["most"]), *case["outcomes"], **flags)


ENDS: dict[str, tuple[list[Outcome], dict[str, bool], type[WindlassError], str, str]] = {
    "the configuration is bad": ([ended(40, "RecipeDoesNotFit")], {}, BadConfiguration, "RecipeDoesNotFit", "what happened"),
    "the data is bad": ([ended(41)], {}, BadData, "Why", "what happened"),
    "code of the user raised": ([ended(42)], {}, UserCodeError, "Why", "what happened"),
    "the device is bad": ([ended(43)], {}, BadDevice, "Why", "what happened"),
    "this pod was told to leave and is saved": ([ended(44)], {"asked_to_stop": True}, Stopped, "Stopped", "what happened"),
    "this pod was told to leave and its worker died": ([], {"asked_to_stop": True}, Stopped, "Stopped", "asked to stop"),
    "the device is bad, and it was told to leave": ([ended(43)], {"asked_to_stop": True}, BadDevice, "Why", "what happened"),
    "the first worker crashed because the second found bad data": ([ended(1), ended(41)], {}, BadData, "Why", "what happened"),
    "a worker crashed and nothing is left of the budget": ([ended(1)], {}, WindlassError, "Why", "what happened"),
    "a worker was killed and nothing is left of the budget": ([], {}, WindlassError, "WorkerDied", "raise resources.memory"),
}


@pytest.mark.parametrize(("outcomes", "flags", "error", "reason", "sentence"), ENDS.values(), ids=ENDS.keys())
def test_the_pod_ends_when(
    outcomes: list[Outcome], flags: dict[str, bool], error: type[WindlassError], reason: str, sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        allow(Restarts(0), *outcomes, **flags)
    assert type(raised.value) is error
    assert raised.value.reason == reason


def test_the_budget_counts_crashes_alone_and_tells_how_many_there_were() -> None:
    restarts = Restarts(2)
    for _ in range(5):
        allow(restarts, ended(44))
        allow(restarts, called_back=True)
    allow(restarts, ended(1))
    allow(restarts)
    with pytest.raises(WindlassError, match=r"what happened \(after 2 restarts\)"):
        allow(restarts, ended(1))
