"""Conditions by the Kubernetes API conventions: a condition keeps its transition time until its status flips. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from windlass_core.resources import Condition
from windlass_operator.plan import Note

# Bound of `message` in the CRDs.
MESSAGE_LENGTH = 2048

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Verdict:
    """What a planner found out about one condition.

    Attributes:
        problem: somebody has to do something, whatever the status.
    """

    status: Status
    reason: str
    message: str
    problem: bool = False


def settle(before: Sequence[Condition], verdicts: dict[str, Verdict], *, generation: int, now: datetime) -> list[Condition]:
    """The conditions after these verdicts; conditions that no verdict speaks of stay."""
    known = {condition.type: condition for condition in before}
    for type_, verdict in verdicts.items():
        old = known.get(type_)
        known[type_] = Condition(
            type=type_,
            status=verdict.status,
            reason=verdict.reason,
            message=clip(verdict.message, MESSAGE_LENGTH),
            last_transition_time=old.last_transition_time if old and old.status == verdict.status else now,
            observed_generation=generation,
        )
    return list(known.values())


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == type_), None)


def notes(before: Sequence[Condition], type_: str, verdict: Verdict) -> tuple[Note, ...]:
    """One note when the reason is new, none while it stays: a state is news once."""
    old = find(before, type_)
    if old and (old.status, old.reason) == (verdict.status, verdict.reason):
        return ()
    return (Note(verdict.reason, verdict.message, warning=verdict.problem),)


def clip(text: str, length: int) -> str:
    """The text, or its beginning and an ellipsis when it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
