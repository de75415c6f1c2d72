"""The folder of a run: points that are there once, in order, whatever was written before a kill."""

from datetime import UTC, datetime

import pytest
from training_runs import training_run

from windlass_core.contracts import RunResult, VersionReference
from windlass_core.errors import BadData, NotFound, Unavailable
from windlass_core.store import Store
from windlass_train.curve import Curve
from windlass_train.pace import Agreed
from windlass_train.runs import MetricPoint, RunFolder, run_folders

DATASET = VersionReference(name="digits", version=1, uri="store://datasets/digits/1", digest="sha256:0")
AGREED = Agreed(loss=0.5, samples_per_second=100.0, stop=False)


def point(step: int) -> MetricPoint:
    return MetricPoint(step=step, epoch=step / 10, split="train", loss=1 / step, at=datetime.now(UTC))


def steps(folder: RunFolder, after: int = 0) -> list[int]:
    return [point.step for point in folder.points(after=after)]


@pytest.fixture
def folder(store: Store) -> RunFolder:
    return RunFolder(store, "job", "uid")


def test_points_of_all_parts_come_in_order_of_steps(folder: RunFolder) -> None:
    for first in (1, 101, 11):  # 101 stands before 11 in a listing by name
        folder.write_points([point(step) for step in range(first, first + 3)])
    assert steps(folder) == [1, 2, 3, 11, 12, 13, 101, 102, 103]


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 11, 12]), (1, [2, 11, 12]), (2, [11, 12]), (11, [12]), (12, [])])
def test_points_can_be_asked_for_from_a_step_on(folder: RunFolder, after: int, expected: list[int]) -> None:
    folder.write_points([point(1), point(2)])
    folder.write_points([point(11), point(12)])
    assert steps(folder, after) == expected


def test_a_run_that_goes_back_to_a_checkpoint_writes_its_points_anew(folder: RunFolder) -> None:
    first = Curve(folder, steps=100, steps_per_epoch=10, start=0)
    for step in (1, 2, 3, 4):
        first.train(step, AGREED)
        if step in (2, 4):
            first.end_part()  # a checkpoint of step 2 is committed; the run is killed before that of step 4 is
    second = Curve(folder, steps=100, steps_per_epoch=10, start=2)
    assert steps(folder) == [1, 2]
    second.train(3, AGREED)
    second.validation(3, loss=0.25, accuracy=0.75)
    second.end_part()
    assert [(point.step, point.split) for point in folder.points()] == [
        (1, "train"),
        (2, "train"),
        (3, "train"),
        (3, "validation"),
    ]


def test_a_run_that_goes_back_while_its_points_are_read_takes_away_what_it_will_write_anew(folder: RunFolder) -> None:
    for first in (1, 11, 21):
        folder.write_points([point(first)])
    points = folder.points()
    assert next(points).step == 1
    folder.drop_points_after(10)
    assert list(points) == []


def test_a_store_that_is_away_keeps_a_run_from_being_watched_and_not_from_going_on(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: RunFolder, __: list[MetricPoint]) -> None:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr("windlass_train.curve.FLUSH_SECONDS", -1.0)
    curve = Curve(folder, steps=100, steps_per_epoch=10, start=0)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_points", away)
        curve.train(1, AGREED)
        assert steps(folder) == []
        with pytest.raises(Unavailable):
            curve.end_part()  # a checkpoint without its points would lose them
    curve.train(2, AGREED)
    assert steps(folder) == [1, 2]


def test_a_long_run_keeps_about_a_thousand_points(folder: RunFolder) -> None:
    curve = Curve(folder, steps=50_000, steps_per_epoch=1000, start=0)
    for step in range(1, 50_001):
        curve.train(step, AGREED)
    curve.end_part()
    assert len(steps(folder)) == 1000


def test_a_run_says_what_it_is_once_and_how_it_ended(store: Store) -> None:
    run = training_run(DATASET, uid="uid-7")
    folder = RunFolder(store, run.name, run.uid)
    with pytest.raises(NotFound):
        folder.description()
    folder.describe(run)
    started = folder.description().started_at
    folder.describe(run)
    assert folder.description().started_at == started
    assert folder.description().spec == run.spec.to_json()
    assert folder.result() is None
    result = RunResult(outcome="Failed", reason="LossDiverged", message="why")
    folder.conclude(result)
    assert folder.result() == result
    assert [(found.job, found.uid) for found in run_folders(store)] == [(run.name, "uid-7")]


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_what_cannot_be_read_is_named(name: str, store: Store) -> None:
    store.write(f"runs/job/uid/{name}", b"{}")
    folder = RunFolder(store, "job", "uid")
    with pytest.raises(BadData, match=f"runs/job/uid/{name} cannot be read by this release: Field required"):
        _ = folder.description() if name == "run.json" else folder.result()
