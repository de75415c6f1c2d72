"""Of the rehearsals, what can be tried without a cluster: watching a command, ending all of it, reading what it says."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import rehearsal_example
from watched import Watched

WAIT_SECONDS = 20.0
# A command with a child that would outlive it, were a signal sent to the command alone.
WITH_A_CHILD = ["sh", "-c", "echo begin; sleep 60 & echo ready; wait"]


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(WITH_A_CHILD, tmp_path)
    yield watched
    watched.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_ends_a_command_with_all_that_it_has_started(parent: Watched, number: signal.Signals) -> None:
    assert parent.reaches("ready", WAIT_SECONDS)
    assert not parent.ends(0.1)
    parent.send(number)
    assert parent.ends(WAIT_SECONDS)
    assert parent.exit_code == -number


def test_a_command_that_ends_without_the_text_is_not_waited_for(tmp_path: Path) -> None:
    watched = Watched(["sh", "-c", "echo other; exit 3"], tmp_path)
    assert not watched.reaches("ready", WAIT_SECONDS)
    assert watched.ends(WAIT_SECONDS)
    assert (watched.exit_code, watched.said()) == (3, "other\n")


@pytest.mark.parametrize(
    ("said", "good"),
    [
        pytest.param("  true label   5   9  \n  predicted    5   9  \n", True, id="a prediction for each label"),
        pytest.param("  true label   5   9  \n  predicted    5      \n", False, id="a prediction is missing"),
        pytest.param("  true label   5   9  \n", False, id="no predictions"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_predictions_are_told_from_the_output(said: str, good: bool) -> None:
    assert rehearsal_example.predicted(said) is good
