"""What a user sees of a step: its time when it ends well, and that it goes on when it takes long."""

from __future__ import annotations

import re
import threading

import console
import pytest

SOON = 0.01


def test_a_short_step_is_one_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with console.step("Short"):
        pass
    assert re.fullmatch(r"  \[   0\.\d s\] Short\n", capsys.readouterr().out)


def test_a_step_that_fails_is_not_said_to_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(console.ClusterError), console.step("Failing"):
        raise console.ClusterError("why")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("slow", [True, False], ids=["known to be slow", "not known to be slow"])
def test_a_step_that_takes_long_is_announced_and_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    told: list[str] = []
    far_enough = threading.Event()

    def say(text: str) -> None:
        told.append(text)
        if "half" in text:
            far_enough.set()

    monkeypatch.setattr(console, "say", say)
    monkeypatch.setattr(console, "SILENT_SECONDS", SOON)
    monkeypatch.setattr(console, "PROGRESS_EVERY_SECONDS", SOON)
    with console.step("Long", slow=slow) as progress:
        progress.tell("half of it")
        assert far_enough.wait(10)
    assert told[0] == "  [      …  ] Long"
    assert re.fullmatch(r"  \[      …  \] Long: half of it, \d+ s so far", told[1])
    assert re.fullmatch(r"  \[ +\d+\.\d s\] Long", told[-1])
