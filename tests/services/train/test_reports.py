"""What workers and the agent of a pod tell one another."""

from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import REGISTRY
from training_pods import wait_for

from windlass_core.contracts import Progress, RunResult
from windlass_core.run import ProgressBoard
from windlass_train.relay import pass_on, relayed
from windlass_train.reports import Outcome, Reports


def test_progress_is_whole_and_the_newest(tmp_path: Path) -> None:
    worker, agent = Reports(tmp_path), Reports(tmp_path)
    assert agent.progress() is None
    for step in (1, 2):
        progress = Progress(phase="Training", step=step, at=datetime.now(UTC))
        worker.write_progress(progress)
        assert agent.progress() == progress


def test_outcomes_come_in_the_order_in_which_workers_ended(tmp_path: Path) -> None:
    worker, agent = Reports(tmp_path), Reports(tmp_path)
    assert agent.outcomes() == []
    outcomes = [Outcome(exit_code=code, result=RunResult(outcome="Failed", reason="Why")) for code in (41, 1)]
    for local_rank, outcome in zip((3, 0), outcomes, strict=True):
        worker.write_outcome(local_rank, outcome)
    assert agent.outcomes() == outcomes
    agent.forget_outcomes()
    assert agent.outcomes() == []


def test_a_request_to_stop_reaches_the_workers(tmp_path: Path) -> None:
    worker, agent = Reports(tmp_path), Reports(tmp_path)
    assert not worker.stop_requested()
    agent.request_stop()
    assert worker.stop_requested()


def test_progress_reaches_the_board_and_the_gauges(tmp_path: Path) -> None:
    worker, board = Reports(tmp_path), ProgressBoard()
    with relayed(worker, board):
        worker.write_progress(Progress(phase="Training", step=7, steps=9, loss=0.5, at=datetime.now(UTC)))
        wait_for("the board shows step 7", lambda: board.current().step == 7 or None, seconds=10)
    assert board.current().loss == 0.5
    wait_for("the gauge shows step 7", lambda: REGISTRY.get_sample_value("windlass_train_step") == 7 or None, seconds=10)
    assert REGISTRY.get_sample_value("windlass_train_steps") == 9


def test_a_worker_that_starts_anew_does_not_take_back_what_was_told() -> None:
    board = ProgressBoard()
    pass_on(Progress(phase="Training", step=7, loss=0.5, eta_seconds=9.0, at=datetime.now(UTC)), board)
    pass_on(Progress(phase="Loading", message="reading the data", at=datetime.now(UTC)), board)
    now = board.current()
    assert (now.phase, now.message, now.step, now.loss, now.eta_seconds) == ("Loading", "reading the data", 7, 0.5, None)
