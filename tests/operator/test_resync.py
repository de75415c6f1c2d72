"""Silent watch streams are found by two listings in a row, and every object is looked at once in a while."""

import asyncio

import builders as b
import pytest
from aiohttp.test_utils import make_mocked_request
from fake_cluster import FakeCluster
from virtual_time import run

from windlass_operator.api import DATASET, POD, Busy, Key
from windlass_operator.health import Health
from windlass_operator.intake import Intake
from windlass_operator.queue import WorkQueue
from windlass_operator.resync import CHECK_SECONDS, FULL_EVERY, Resync
from windlass_operator.streams import Streams

KEY = Key("Dataset", b.NAMESPACE, "digits")


class Keys:
    """Notes what is added."""

    def __init__(self) -> None:
        self.added: list[Key] = []
        self.forgotten: list[Key] = []

    def add(self, key: Key) -> None:
        self.added.append(key)

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)


class Stage:
    """A cluster with one Dataset, and the streams' side of it."""

    def __init__(self) -> None:
        self.cluster, self.keys = FakeCluster(), Keys()
        self.intake = Intake(self.keys)
        self.resync = Resync(self.cluster, self.intake, self.keys, ())
        self.cluster.put(b.dataset())
        self.deliver()

    def edit(self, label: str) -> None:
        """Somebody edits the Dataset."""
        self.cluster.put(b.dataset(label=label))

    def deliver(self) -> None:
        """The stream brings what there is."""
        found = self.cluster.find(DATASET, b.NAMESPACE, "digits")
        assert found is not None
        self.intake.parent(DATASET, "MODIFIED", found)
        self.keys.added.clear()

    def check(self) -> set[str]:
        """One listing; the plurals of silent streams."""
        run(self.resync.once())
        return {kind.plural for kind in self.resync.stale}


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_quiet_cluster_is_not_a_silent_stream(stage: Stage) -> None:
    assert [stage.check() for _ in range(3)] == [set(), set(), set()]
    assert stage.keys.added == []


def test_a_change_that_is_on_its_way_is_no_fault(stage: Stage) -> None:
    stage.edit("one")
    assert stage.check() == set()
    stage.deliver()
    assert stage.check() == set()


def test_what_the_stream_has_missed_is_looked_at_right_away(stage: Stage) -> None:
    stage.edit("one")
    stage.check()
    assert stage.keys.added == [KEY]


def test_a_change_that_never_came_is_a_silent_stream(stage: Stage) -> None:
    stage.edit("one")
    assert [stage.check(), stage.check()] == [set(), {"datasets"}]
    stage.deliver()
    assert stage.check() == set()


def test_a_busy_object_is_not_a_silent_stream(stage: Stage) -> None:
    stage.edit("one")
    assert stage.check() == set()
    stage.deliver()
    stage.edit("two")
    assert stage.check() == set()


def test_what_was_deleted_and_never_told_is_looked_at_once_and_forgotten(stage: Stage) -> None:
    stage.intake.child(POD, "ADDED", b.pod())
    stage.cluster.drop(DATASET, b.NAMESPACE, "digits")
    assert [stage.check(), stage.check()] == [set(), set()]
    assert (stage.keys.forgotten, stage.keys.added) == ([KEY], [KEY])
    assert (stage.intake.known(DATASET), stage.intake.known(POD)) == (frozenset(), frozenset())


def test_an_operator_of_some_namespaces_forgets_nothing_of_another(stage: Stage) -> None:
    one, other = (Resync(stage.cluster, stage.intake, stage.keys, (namespace,)) for namespace in ("elsewhere", b.NAMESPACE))
    run(one.once())
    run(other.once())
    assert (stage.keys.forgotten, stage.keys.added) == ([], [])


def test_every_so_often_everything_is_looked_at(stage: Stage) -> None:
    for _ in range(FULL_EVERY - 1):
        stage.check()
    assert stage.keys.added == []
    stage.check()
    assert stage.keys.added == [KEY]


def test_a_cluster_that_does_not_answer_is_asked_again_later() -> None:
    class Away(FakeCluster):
        """Counts the questions it does not answer."""

        asked = 0

        async def list(self, *_: object, **__: object) -> list[dict[str, object]]:
            self.asked += 1
            raise Busy("no answer")

    async def stage() -> int:
        cluster, keys = Away(), Keys()
        task = asyncio.create_task(Resync(cluster, Intake(keys), keys, ()).run())
        await asyncio.sleep(CHECK_SECONDS * 3.5)
        assert not task.done()
        task.cancel()
        return cluster.asked

    assert run(stage()) == 3


def test_health_tells_a_silent_stream_a_stuck_round_and_a_stuck_queue(stage: Stage) -> None:
    async def play() -> list[str | None]:
        told = []
        queue: WorkQueue[Key] = WorkQueue(lambda _: asyncio.sleep(10_000, None), workers=1)
        health = Health(queue, stage.resync, nothing())
        task = asyncio.create_task(queue.run())
        told.append(health.fault())
        queue.add(KEY)
        await asyncio.sleep(301)
        told.append(health.fault())
        task.cancel()
        await asyncio.sleep(0)
        waiting: WorkQueue[Key] = WorkQueue(lambda _: asyncio.sleep(0, None), workers=1)
        waiting.add(KEY)
        await asyncio.sleep(901)
        told.append(Health(waiting, stage.resync, nothing()).fault())
        return told

    calm, round_, queue = run(play())
    assert calm is None
    assert round_ == "one key has been worked on for 301 s"
    assert queue is not None
    assert "the queue does not move" in queue
    stage.edit("one")
    stage.check()
    stage.check()
    fault = Health(WorkQueue(lambda _: asyncio.sleep(0, None), workers=1), stage.resync, nothing()).fault()
    assert fault == "the watch streams of datasets are silent"


def nothing() -> Streams:
    """No streams to wait for."""
    return Streams((), ())


def test_metrics_answer(stage: Stage) -> None:
    async def ask() -> str:
        queue: WorkQueue[Key] = WorkQueue(lambda _: asyncio.sleep(0, None), workers=1)
        figures = (await Health(queue, stage.resync, nothing()).metrics(make_mocked_request("GET", "/"))).body
        assert isinstance(figures, bytes)
        return figures.decode()

    assert "windlass_operator_queue_depth 0.0" in run(ask())
