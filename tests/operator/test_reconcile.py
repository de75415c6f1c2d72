"""One round for one key on a cluster in memory: what is written, and what becomes of errors."""

from collections.abc import Callable
from typing import Any

import builders as b
import pytest
from fake_cluster import FakeCluster, Write
from fake_operator import FakeOperator

from windlass_operator import manifests
from windlass_operator.api import DATASET, EVENT, JOB, POD, SECRET, ApiError, Busy, Conflict, Key, Refused
from windlass_operator.queue import RetryLater
from windlass_operator.reconcile import difference

KEY = Key("Dataset", b.NAMESPACE, "digits")


@pytest.fixture
def cluster() -> FakeCluster:
    fake = FakeCluster()
    fake.put(b.dataset())
    return fake


@pytest.fixture
def operator(cluster: FakeCluster) -> FakeOperator:
    return FakeOperator(cluster)


def reason(cluster: FakeCluster) -> str:
    found = cluster.find(DATASET, b.NAMESPACE, "digits")
    assert found is not None
    told: str = found["status"]["conditions"][0]["reason"]
    return told


def test_the_first_round_writes_secret_child_status_and_event(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.round(KEY)
    assert [(write.verb, write.kind, write.subresource) for write in cluster.writes] == [
        ("apply", "Secret", None), ("create", "Job", None), ("patch", "Dataset", "status"), ("create", "Event", None),
    ]  # fmt: skip


def test_the_second_round_writes_nothing(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.round(KEY)
    before = len(cluster.writes)
    operator.round(KEY)
    assert cluster.writes[before:] == []


def test_after_a_restart_only_the_secret_is_applied_again(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.round(KEY)
    before = len(cluster.writes)
    operator.restart()
    operator.round(KEY)
    assert [write.kind for write in cluster.writes[before:]] == [SECRET.name]


def test_an_object_that_is_gone_is_forgotten(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.progress.follow(KEY, "10.0.0.1")
    cluster.drop(DATASET, b.NAMESPACE, "digits")
    assert operator.round(KEY) is None
    assert (cluster.writes, operator.progress.followed) == ([Write("delete", "Secret", manifests.STORE_NAME)], {})


def failing(kind: str, error: ApiError, *, times: int = 1) -> Callable[[Write], ApiError | None]:
    left = times

    def deny(write: Write) -> ApiError | None:
        nonlocal left
        if write.kind != kind or left == 0:
            return None
        left -= 1
        return error

    return deny


@pytest.mark.parametrize(
    ("error", "after"),
    [
        pytest.param(Conflict("somebody else was faster", status=409), None, id="a lost race"),
        pytest.param(Busy("too many requests", status=429, retry_after=7.0), 7.0, id="a server that asks for patience"),
        pytest.param(Busy("no answer"), None, id="a server that does not answer"),
    ],
)
@pytest.mark.parametrize("kind", ["Secret", "Job", "Dataset"])
def test_what_passes_is_tried_again_and_ends_the_same(
    error: ApiError, after: float | None, kind: str, cluster: FakeCluster, operator: FakeOperator
) -> None:
    cluster.deny = failing(kind, error)
    with pytest.raises(RetryLater) as raised:
        operator.round(KEY)
    assert raised.value.after == after
    operator.settle()
    assert len(cluster.of_kind(JOB)) == 1
    assert reason(cluster) == "Starting"


def test_what_the_server_refuses_is_told_and_tried_again(cluster: FakeCluster, operator: FakeOperator) -> None:
    error = Refused("jobs.batch is forbidden: exceeded quota: few, requested: count/jobs.batch=1", status=403)
    cluster.deny = failing("Job", error, times=2)
    with pytest.raises(RetryLater):
        operator.round(KEY)
    assert reason(cluster) == "QuotaExceeded"
    told = len(cluster.of_kind(EVENT))
    with pytest.raises(RetryLater):
        operator.round(KEY)
    assert len(cluster.of_kind(EVENT)) == told, "the same news is told once"
    operator.settle()
    assert reason(cluster) == "Starting"


def test_an_event_that_cannot_be_made_holds_nothing_up(cluster: FakeCluster, operator: FakeOperator) -> None:
    cluster.deny = failing("Event", Refused("events are forbidden", status=403))
    operator.round(KEY)
    assert reason(cluster) == "Starting"


def test_a_status_is_never_written_over_one_that_was_not_read(cluster: FakeCluster, operator: FakeOperator) -> None:
    def meddle(write: Write) -> None:
        if write.kind == "Job":
            found = cluster.find(DATASET, b.NAMESPACE, "digits")
            assert found is not None
            cluster.put({**found, "status": {"rows": 5}})

    cluster.after = meddle
    with pytest.raises(RetryLater):
        operator.round(KEY)
    found = cluster.find(DATASET, b.NAMESPACE, "digits")
    assert found is not None
    assert found["status"] == {"rows": 5}


def test_the_pod_that_runs_is_asked_for_progress_until_it_is_over(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.round(KEY)
    (job,) = cluster.of_kind(JOB)
    labels = job["spec"]["template"]["metadata"]["labels"]
    cluster.put(b.pod(owner_uid=job["metadata"]["uid"], labels=labels, **b.running(address="10.0.0.9")))
    operator.round(KEY)
    assert operator.progress.followed == {KEY: "10.0.0.9"}
    cluster.put(b.pod(owner_uid=job["metadata"]["uid"], labels=labels, **b.ended(0, b.dataset_result())))
    operator.round(KEY)
    assert operator.progress.followed == {}
    assert reason(cluster) == "Prepared"


def test_pods_of_an_earlier_object_of_the_name_are_not_ours(cluster: FakeCluster, operator: FakeOperator) -> None:
    labels = {"windlass.dev/dataset": "digits", manifests.UID_LABEL: "earlier"}
    cluster.put(b.pod(owner_uid="old-job", labels=labels, **b.ended(0, b.dataset_result())))
    operator.settle()
    assert reason(cluster) == "Starting"


def test_deleting_an_object_removes_all_that_was_made_for_it(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.settle()
    cluster.drop(DATASET, b.NAMESPACE, "digits")
    operator.settle()
    assert cluster.of_kind(JOB) == cluster.of_kind(POD) == []


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        pytest.param({"a": 1}, {"a": 1}, {}, id="nothing changed"),
        pytest.param({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}, id="values are new"),
        pytest.param({"a": 1, "b": 2}, {"a": 1}, {"b": None}, id="a value is gone"),
        pytest.param({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, {"a": {"y": None}}, id="a value inside is gone"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, {"a": [1]}, id="lists are written whole"),
        pytest.param({}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="an object is new"),
    ],
)
def test_the_patch_of_a_status(before: Any, after: Any, patch: Any) -> None:
    assert difference(before, after) == patch
