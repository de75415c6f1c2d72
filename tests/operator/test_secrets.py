"""The store's Secret of a namespace: there as long as something of ours is, whatever happens at the same time."""

import asyncio
from typing import Any

import builders as b
import pytest
import virtual_time
from fake_cluster import FakeCluster, Write
from fake_operator import FakeOperator

from windlass_operator import manifests
from windlass_operator.api import DATASET, POD, SECRET, Busy, Key, Kind, Manifest, Refused
from windlass_operator.queue import RetryLater
from windlass_operator.secrets import StoreSecrets

KEY = Key("Dataset", b.NAMESPACE, "digits")
OURS = {manifests.MANAGED_BY: "windlass"}


@pytest.fixture
def cluster() -> FakeCluster:
    """A Dataset that the operator has seen, and then nobody's."""
    fake = FakeCluster()
    fake.put(b.dataset())
    return fake


@pytest.fixture
def operator(cluster: FakeCluster) -> FakeOperator:
    made = FakeOperator(cluster)
    made.round(KEY)
    cluster.drop(DATASET, b.NAMESPACE, "digits")
    return made


def is_there(cluster: FakeCluster) -> bool:
    return cluster.find(SECRET, b.NAMESPACE, manifests.STORE_NAME) is not None


def elsewhere(manifest: Manifest) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": "elsewhere"}}


def test_it_goes_with_the_last_object(cluster: FakeCluster, operator: FakeOperator) -> None:
    assert is_there(cluster)
    operator.round(KEY)
    assert not is_there(cluster)


@pytest.mark.parametrize(
    ("left", "stays"),
    [
        pytest.param(b.dataset(name="other"), True, id="another Dataset keeps it"),
        pytest.param(b.training_job(), True, id="a TrainingJob keeps it"),
        pytest.param(b.model(), True, id="a Model keeps it"),
        pytest.param(b.inference_service(), True, id="an InferenceService keeps it"),
        pytest.param(b.pod(labels=OURS), True, id="a pod that has not ended keeps it"),
        pytest.param(b.pod(labels={"app": "other"}), False, id="a pod of somebody else does not"),
        pytest.param(elsewhere(b.training_job()), False, id="an object of another namespace does not"),
    ],
)
def test_what_is_left_in_the_namespace(left: Manifest, stays: bool, cluster: FakeCluster, operator: FakeOperator) -> None:
    cluster.put(left)
    operator.round(KEY)
    assert is_there(cluster) is stays


def test_the_end_of_the_last_pod_takes_it_along(cluster: FakeCluster, operator: FakeOperator) -> None:
    cluster.put(b.pod("late", labels=OURS))
    operator.round(KEY)
    cluster.drop(POD, b.NAMESPACE, "late")
    operator.round(KEY)
    assert not is_there(cluster)


def test_an_object_that_comes_after_it_went_has_it_at_once(cluster: FakeCluster, operator: FakeOperator) -> None:
    operator.round(KEY)
    cluster.put(b.dataset())
    operator.round(KEY)
    assert is_there(cluster)


class Interrupted(FakeCluster):
    """Has an object made, and its first round begun, at the moment of one request."""

    at = ""
    secrets: StoreSecrets
    round_of_the_new: asyncio.Task[None] | None = None

    async def list(self, kind: Kind, namespace: str | None, **options: Any) -> list[Manifest]:
        """See `api.Cluster`."""
        if self.at == f"before the listing of {kind.plural}":
            await self._meanwhile()
        found = await super().list(kind, namespace, **options)
        if self.at == f"after the listing of {kind.plural}":
            await self._meanwhile()
        return found

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """See `api.Cluster`."""
        if self.at == "before the deletion":
            await self._meanwhile()
        await super().delete(kind, namespace, name, uid)
        if self.at == "after the deletion":
            await self._meanwhile()

    async def _meanwhile(self) -> None:
        self.put(b.dataset())
        self.round_of_the_new = asyncio.create_task(self.secrets.ensure(b.NAMESPACE))
        await asyncio.sleep(1)  # virtual: all that can go on has gone on


@pytest.mark.parametrize(
    "at",
    [
        *(
            f"{when} the listing of {kind}"
            for kind in ("datasets", "inferenceservices", "pods")
            for when in ("before", "after")
        ),
        "before the deletion",
        "after the deletion",
    ],
)
def test_an_object_made_while_its_namespace_is_left_ends_with_it(at: str) -> None:
    async def story() -> bool:
        cluster = Interrupted()
        cluster.secrets = secrets = StoreSecrets(cluster, b.SETTINGS.store)
        await secrets.ensure(b.NAMESPACE)
        cluster.at = at
        await secrets.release(b.NAMESPACE)
        assert cluster.round_of_the_new is not None
        await cluster.round_of_the_new
        return is_there(cluster)

    assert virtual_time.run(story())


def test_a_deletion_whose_answer_is_lost_is_tried_again_and_forgotten_at_once(
    cluster: FakeCluster, operator: FakeOperator
) -> None:
    def lose(_: Write) -> None:
        raise Busy("no answer")

    cluster.after = lose
    with pytest.raises(RetryLater):
        operator.round(KEY)
    cluster.after = lambda _: None
    cluster.put(b.dataset())
    operator.round(KEY)
    assert is_there(cluster), "nobody believes that it is there"


def test_a_server_that_refuses_is_left_alone(
    cluster: FakeCluster, operator: FakeOperator, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.deny = lambda write: Refused("secrets is forbidden", status=403) if write.verb == "delete" else None
    assert operator.round(KEY) is None
    assert "may be left: secrets is forbidden" in caplog.text
