"""Candidates of one library share a process until one of them ends it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from windlass_infer.engine import EngineSignature
from windlass_infer.engines.trial import Request, Result
from windlass_infer.engines.trial_process import TrialProcess

SECONDS = 20.0
# Stands for the program of a trial: notes that it began, and does as the candidate's name says.
SCRIPT = """#!/bin/sh
echo begun >> {folder}/begun
while read path; do
  case "$path" in
    */dies.*) echo "out of luck" >&2; exit 3;;
    */crashes.*) kill -ILL $$;;
    */hangs.*) exec sleep 60;;
    */mute.*) exec sleep 60 >&2;;
  esac
  echo '{{"seconds": {{"8": 0.5}}, "load_seconds": 0.25}}' > "${{path%.request.json}}.result.json"
  echo done
done
"""


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], Request]:
    def make(name: str) -> Request:
        return Request(name, "", EngineSignature((), ()), "", "", str(tmp_path / f"{name}.result.json"))

    return make


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many processes have begun; they run SCRIPT."""
    python = tmp_path / "python"
    python.write_text(SCRIPT.format(folder=tmp_path))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return lambda: len((tmp_path / "begun").read_text().splitlines())


GOOD = Result({8: 0.5}, 0.25)


def test_candidates_share_a_process_so_that_their_library_is_imported_once(
    ask: Callable[[str], Request], begun: Callable[[], int], tmp_path: Path
) -> None:
    with TrialProcess(tmp_path, SECONDS) as process:
        assert [process.attempt(ask(name)) for name in ("one", "two", "three")] == [GOOD] * 3
    assert begun() == 1


@pytest.mark.parametrize(
    ("name", "seconds", "failure", "late"),
    [
        pytest.param("dies", SECONDS, "its process ended with code 3", False, id="ends"),
        pytest.param("crashes", SECONDS, "its process was ended by SIGILL", False, id="crashes"),
        pytest.param("hangs", 0.5, "it was not done after 0 s", True, id="hangs"),
        pytest.param("mute", 0.5, "it was not done after 0 s", True, id="hangs with its end of the pipe closed"),
    ],
)
def test_one_that_is_lost_is_told_of_and_ended(
    ask: Callable[[str], Request],
    begun: Callable[[], int],
    tmp_path: Path,
    name: str,
    seconds: float,
    failure: str,
    late: bool,
) -> None:
    with TrialProcess(tmp_path, seconds) as process:
        lost = process.attempt(ask(name))
    assert (lost.failure, lost.late, lost.seconds) == (failure, late, {})
    assert begun() == 1


def test_after_one_that_ended_the_process_the_next_begins_another(
    ask: Callable[[str], Request], begun: Callable[[], int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TrialProcess(tmp_path, SECONDS) as process:
        results = [process.attempt(ask(name)) for name in ("one", "dies", "two", "three")]
    assert [result.failure for result in results] == [None, "its process ended with code 3", None, None]
    assert begun() == 2
    [record] = caplog.records
    assert "out of luck" in vars(record)["said"]
