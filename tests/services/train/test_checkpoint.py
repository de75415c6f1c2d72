"""Checkpoints: whatever moment a run is killed at, what is loaded is a whole step, and the newest there is."""

from collections.abc import Callable
from typing import Any

import pytest

from windlass_core.store import Store
from windlass_train.checkpoint import Checkpoint, Checkpoints

FOLDER = "runs/job/uid/checkpoints"


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class DyingStore(Store):
    """Lets the first `lives` writes and deletes through and is killed before the next."""

    def __init__(self, store: Store, lives: int) -> None:
        super().__init__(store._root, namespace=store.namespace)
        self.lives = lives

    def _breathe(self) -> None:
        if self.lives == 0:
            raise Killed
        self.lives -= 1

    def write(self, path: str, data: bytes) -> None:
        self._breathe()
        super().write(path, data)

    def create(self, path: str, data: bytes) -> None:
        self._breathe()
        super().create(path, data)

    def delete(self, paths: Any) -> None:
        for path in paths:
            self._breathe()
            super().delete([path])


def checkpoints(store: Store, *, keep: int = 2, fingerprint: str = "sha256:a") -> Checkpoints:
    return Checkpoints(store, FOLDER, keep=keep, fingerprint=fingerprint)


def files(step: int) -> dict[str, bytes]:
    return {"model.safetensors": f"weights {step}".encode(), "state.json": f"state {step}".encode()}


def step_of(checkpoint: Checkpoint | None) -> int | None:
    if checkpoint is None:
        return None
    assert dict(checkpoint.files) == files(checkpoint.commit.step)
    return checkpoint.commit.step


def count_operations(act: Callable[[Store], Any], store: Store) -> int:
    counting = DyingStore(store, lives=10**6)
    act(counting)
    return 10**6 - counting.lives


def save(step: int) -> Callable[[Store], Any]:
    return lambda store: checkpoints(store).save(step, files(step), world_size=2)


def fresh(steps: list[int]) -> Store:
    store = Store.open("default", {"WINDLASS_STORE_URL": "memory:///"})
    for step in steps:
        save(step)(store)
    return store


OPERATIONS = count_operations(save(30), fresh([10, 20]))


@pytest.mark.parametrize("lives", range(OPERATIONS + 1), ids=lambda lives: f"killed after {lives} operations of a save")
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_newest_step(lives: int) -> None:
    store = fresh([10, 20])
    dying = DyingStore(store, lives)
    committed = False
    try:
        save(30)(dying)
        committed = True
    except Killed:
        pass
    newest = step_of(checkpoints(store).newest())
    assert newest in ((30,) if committed else (20, 30))
    # The next try goes on from there, saves the same step again, and leaves nothing behind but the newest two.
    save(30)(store)
    save(40)(store)
    assert step_of(checkpoints(store).newest()) == 40
    assert store.folders(FOLDER) == ["step-30", "step-40"]


def test_a_save_does_at_least_what_the_kill_table_counts() -> None:
    assert OPERATIONS >= 3 + 3  # two files and the commit; the commit and two files of the oldest step


DAMAGES: dict[str, Callable[[Store, list[str]], None]] = {
    "a file has other bytes": lambda store, paths: store.write(next(p for p in paths if "model" in p), b"other"),
    "a file is gone": lambda store, paths: store.delete([next(p for p in paths if "state" in p)]),
    "COMMIT.json is gone": lambda store, paths: store.delete([next(p for p in paths if p.endswith("COMMIT.json"))]),
    "COMMIT.json is cut short": lambda store, paths: store.write(
        next(p for p in paths if p.endswith("COMMIT.json")), b'{"step"'
    ),
    "COMMIT.json is empty": lambda store, paths: store.write(next(p for p in paths if p.endswith("COMMIT.json")), b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_step_is_passed_over_and_can_be_saved_again(damage: Callable[[Store, list[str]], None]) -> None:
    store = fresh([10, 20])
    damage(store, [entry.path for entry in store.list(f"{FOLDER}/step-20")])
    assert step_of(checkpoints(store).newest()) == 10
    save(20)(store)
    assert step_of(checkpoints(store).newest()) == 20


def test_the_newest_is_by_number_and_not_by_name() -> None:
    store = fresh([9, 10])
    assert step_of(checkpoints(store).newest()) == 10


def test_there_is_no_newest_before_the_first(store: Store) -> None:
    assert checkpoints(store).newest() is None


def test_checkpoints_of_other_data_or_settings_are_not_this_runs(store: Store) -> None:
    checkpoints(store, fingerprint="sha256:other").save(50, files(50), world_size=1)
    save(10)(store)
    assert step_of(checkpoints(store).newest()) == 10


def test_a_whole_commit_of_the_same_step_stands(store: Store) -> None:
    first = checkpoints(store).save(10, files(10), world_size=1)
    assert checkpoints(store).save(10, {"model.safetensors": b"of another try"}, world_size=2) == first
    assert step_of(checkpoints(store).newest()) == 10


def test_the_newest_few_are_kept() -> None:
    store = fresh([])
    for step in range(10, 60, 10):
        checkpoints(store, keep=3).save(step, files(step), world_size=1)
    assert store.folders(FOLDER) == ["step-30", "step-40", "step-50"]


def test_all_can_be_forgotten() -> None:
    store = fresh([10, 20])
    checkpoints(store).delete_all()
    assert list(store.list(FOLDER)) == []
