"""The operator ends before or after every single write, one run each, and starts anew: the end result is always the same."""

import json
import re
from collections.abc import Iterator
from typing import Any

import builders
import pytest
from fake_cluster import Crash, FakeCluster, Write
from fake_operator import FakeOperator
from fake_world import World

from windlass_operator.api import DEPLOYMENT, EVENT, INFERENCE_SERVICE, JOB, MODEL, POD, SERVICE, TRAINING_JOB

STEPS = 12  # of the world, until a Dataset has become an answering service


def pipeline() -> FakeCluster:
    """A Dataset, a run and a service that are all new, as one `kubectl apply` makes them; in reverse order."""
    cluster = FakeCluster()
    cluster.put(
        builders.inference_service(replicas={"min": 2, "max": 3}),
        builders.training_job(publish={"alias": "production"}),
        builders.dataset(),
    )
    return cluster


def live_through(cluster: FakeCluster) -> FakeOperator:
    """The whole story; an operator that crashes is started anew at once."""
    operator, world = FakeOperator(cluster), World(cluster)
    for _ in range(STEPS):
        while True:
            try:
                operator.settle()
                break
            except Crash:
                operator.restart()
        world.step()
    return operator


def outcome(cluster: FakeCluster) -> Any:
    """Everything in the cluster but Events, times and what only counts (uids, versions of objects)."""
    kept = [manifest for place, manifest in sorted(cluster.objects.items()) if place[0] not in (EVENT.name, POD.name)]
    text = re.sub(r'"resourceVersion": "\d+"', "", json.dumps(kept, sort_keys=True))
    text = re.sub(r"uid-\d+", "uid", text)
    return re.sub(r"2026-01-01T12:\d\d:\d\dZ", "time", text)


def all_writes() -> list[Write]:
    """The writes of a run without a crash."""
    cluster = pipeline()
    live_through(cluster)
    return cluster.writes


@pytest.fixture(scope="module")
def calm() -> FakeCluster:
    """The cluster after a run without a crash."""
    cluster = pipeline()
    live_through(cluster)
    return cluster


def test_a_calm_run_ends_with_a_service_that_answers(calm: FakeCluster) -> None:
    run = calm.find(TRAINING_JOB, builders.NAMESPACE, "run")
    service = calm.find(INFERENCE_SERVICE, builders.NAMESPACE, "digits")
    model = calm.find(MODEL, builders.NAMESPACE, "digits")
    assert run is not None
    assert service is not None
    assert model is not None
    assert run["status"]["conditions"][0]["reason"] == "Published"
    assert run["status"]["model"] == {"name": "digits", "version": 1, "digest": "sha256:model1"}
    assert model["spec"]["aliases"] == [{"name": "production", "version": 1}]
    assert "ownerReferences" not in model["metadata"]
    assert [condition["status"] for condition in service["status"]["conditions"]] == ["True", "True"]
    assert service["status"]["replicas"] == {"ready": 2, "updated": 2, "desired": 2}
    assert [job["metadata"]["name"] for job in calm.of_kind(JOB)][1:] == ["train-run-a1"]
    assert [service["metadata"]["name"] for service in calm.of_kind(SERVICE)] == ["digits"], "the run's Service is gone"


def test_after_it_came_to_rest_another_look_writes_nothing(calm: FakeCluster) -> None:
    before = len(calm.writes)
    operator = FakeOperator(calm)
    assert not operator.sweep() or {write.kind for write in calm.writes[before:]} == {"Secret"}


def cases() -> list[Any]:
    return list(_cases())


def _cases() -> Iterator[Any]:
    for number, write in enumerate(all_writes()):
        for when in ("before", "after"):
            sentence = f"killed {when} write {number}: {write.verb} {write.kind} {write.name} {write.subresource or ''}".strip()
            yield pytest.param(number, when, id=sentence)


@pytest.mark.parametrize(("number", "when"), cases())
def test_the_end_is_the_same_when_the_operator_is(number: int, when: str, calm: FakeCluster) -> None:
    cluster = pipeline()
    tries = 0

    def crash(_: Write) -> None:
        nonlocal tries
        tries += 1
        if tries == number + 1:
            raise Crash

    if when == "before":
        cluster.before = crash
    else:
        cluster.after = crash
    live_through(cluster)
    assert tries > number, "the crash happened"
    assert outcome(cluster) == outcome(calm)


def test_no_child_is_made_twice(calm: FakeCluster) -> None:
    created = [(write.kind, write.name) for write in calm.writes if write.verb == "create" and write.kind != EVENT.name]
    assert len(created) == len(set(created))
    applied = [(write.kind, write.name) for write in calm.writes_to(DEPLOYMENT) if write.verb == "apply"]
    assert len(applied) == 1
