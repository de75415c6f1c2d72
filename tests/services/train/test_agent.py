"""The agent beside its workers: what it waits for, what it leaves for, and what it does not take for an answer.

How whole groups fare is in tests/faults.
"""

import threading
from pathlib import Path

import pytest
from training_runs import training_run

from windlass_core.contracts import RunResult, VersionReference
from windlass_core.errors import Stopped, Unavailable, WindlassError
from windlass_core.registry import Registry
from windlass_core.run import ProgressBoard, RunContext
from windlass_core.store import Store
from windlass_train import agent as agents
from windlass_train import rendezvous
from windlass_train.agent import Agent
from windlass_train.pod import Pod
from windlass_train.rendezvous import WatchedRendezvous
from windlass_train.reports import Outcome, Reports

DATASET = VersionReference(name="digits", version=1, uri="store://datasets/digits/1", digest="sha256:0")
POD = Pod(index=1, address="127.0.0.1", rendezvous_port=1, run_port=1)


@pytest.fixture
def context() -> RunContext:
    return RunContext(progress=ProgressBoard(), stop_requested=threading.Event())


@pytest.fixture
def agent(store: Store, context: RunContext, tmp_path: Path) -> Agent:
    return Agent(training_run(DATASET, workers=2, restarts={"max": 0}), POD, store, context, tmp_path)


def crashed() -> Outcome:
    return Outcome(exit_code=1, result=RunResult(outcome="Failed", reason="InternalError", message="ZeroDivisionError"))


def test_a_request_to_stop_is_passed_on_and_workers_have_time_to_heed_it(
    agent: Agent, context: RunContext, tmp_path: Path
) -> None:
    agent.while_working()
    assert not Reports(tmp_path).stop_requested()
    context.stop_requested.set()
    agent.while_working()
    assert Reports(tmp_path).stop_requested()
    agent.while_working()


def test_workers_that_do_not_heed_a_request_to_stop_are_left(
    agent: Agent, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "STOP_SECONDS", -1)
    context.stop_requested.set()
    agent.while_working()
    with pytest.raises(Stopped, match="did not save itself within"):
        agent.while_working()


def test_a_pod_that_waits_leaves_when_it_is_told_to(agent: Agent, context: RunContext) -> None:
    agent.before_round(called_back=False)
    assert context.progress.current().message == "waiting until all 2 workers are there"
    context.stop_requested.set()
    with pytest.raises(Stopped):
        agent.while_waiting()


def test_a_pod_that_waits_goes_on_waiting_while_the_store_is_away(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def away(_: Registry, name: str, owner: str) -> None:
        asked.append((name, owner))
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(Registry, "find", away)
    agent.before_round(called_back=False)
    assert asked == [("digits", "uid-1")]


def test_a_first_round_needs_no_permission_and_one_after_a_crash_does(agent: Agent, tmp_path: Path) -> None:
    Reports(tmp_path).write_outcome(0, crashed())
    agent.before_round(called_back=False)
    assert Reports(tmp_path).outcomes() == [], "what an earlier round left says nothing of this one"
    agent.joined()
    Reports(tmp_path).write_outcome(0, crashed())
    with pytest.raises(WindlassError, match="ZeroDivisionError"):
        agent.before_round(called_back=False)


def test_an_error_of_joining_ends_the_waiting_also_when_it_is_a_timeout(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise TimeoutError("the address was not resolved in time")

    monkeypatch.setattr(rendezvous.rendezvous_registry, "get_rendezvous_handler", fail)
    meeting = WatchedRendezvous(
        host="127.0.0.1", port=1, run_id="run", workers=2, hosts=True, address="127.0.0.1", watcher=agent
    )
    with pytest.raises(TimeoutError, match="not resolved in time"):
        meeting.next_rendezvous()
