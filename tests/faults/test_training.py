"""Training with real processes: whatever dies or is told to leave, the run ends as an undisturbed one, and once."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training_pods import Job, wait_for
from training_runs import publish_digits, training_run

from windlass_core.contracts import TrainRun, VersionReference
from windlass_core.manifests import Manifest
from windlass_core.registry import Registry
from windlass_core.store import Store
from windlass_train.checkpoint import Checkpoints
from windlass_train.data import load
from windlass_train.evaluate import evaluate_on_test
from windlass_train.group import Group
from windlass_train.runs import RunFolder
from windlass_train.trainer import Trainer, fingerprint

# Pods start in 5 s on an idle machine with two cores, and take a minute beside other work.
pytestmark = pytest.mark.timeout(300)

# About 3 ms an update on one core: long enough to be disturbed, short enough to wait for.
LONG: dict[str, Any] = {
    "parameters": {"batchSize": 16, "hidden": [256, 256]},
    "stop": {"epochs": 30},
    "checkpoint": {"every": 20, "keep": 2},
}
STEPS = 30 * 20


class World:
    """A store with digits in it, and the runs of this module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"WINDLASS_STORE_URL": f"file://{folder}/store"}
        self.store = Store.open("default", self.environment)
        self.digits: VersionReference = publish_digits(self.store, folder / "digits", rows=400)

    def job(self, run: TrainRun) -> Job:
        folder = self.folder / run.uid
        folder.mkdir()
        return Job(run, self.environment, folder)

    def run(self, uid: str, **spec: Any) -> TrainRun:
        return training_run(self.digits, uid=uid, **spec)

    def published(self, run: TrainRun) -> Manifest | None:
        version = Registry(self.store, "models").find(run.spec.model.name, run.uid)
        return version.manifest if version else None

    def owners(self) -> list[str]:
        registry = Registry(self.store, "models")
        return [registry.open("digits", number).manifest.owner for number in registry.versions("digits")]


def weights(manifest: Manifest | None) -> str:
    assert manifest is not None
    file = manifest.file("weights.safetensors")
    assert file is not None
    return file.sha256


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Manifest:
    """What two workers publish when nothing happens."""
    run = world.run("undisturbed", workers=2, **LONG)
    with world.job(run) as job:
        job.finish()
    manifest = world.published(run)
    assert manifest is not None
    return manifest


def kill_worker(job: Job, index: int) -> None:
    os.kill(job.pods[index].worker(), signal.SIGKILL)


def tell_to_leave(job: Job, index: int) -> None:
    os.kill(job.pods[index].process.pid, signal.SIGTERM)


def kill_all(job: Job) -> None:
    for pod in job.pods.values():
        pod.kill()


# What happens, and how the pods that have to be replaced end.
FAULTS: dict[str, tuple[Callable[[Job], None], list[tuple[int, int]]]] = {
    "a worker process is killed": (lambda job: kill_worker(job, 1), []),
    "pod 1 is killed": (lambda job: job.pods[1].kill(), [(1, -9)]),
    "pod 0, where all meet, is killed": (lambda job: job.pods[0].kill(), [(0, -9)]),
    "pod 1 is told to leave": (lambda job: tell_to_leave(job, 1), [(1, 44)]),
    "pod 0 is told to leave": (lambda job: tell_to_leave(job, 0), [(0, 44)]),
    "all pods are killed": (kill_all, [(0, -9), (1, -9)]),
}


def checkpoint_after(job: Job, step: int, when: str) -> int:
    """Step of a checkpoint beyond `step`, once there is one."""
    seen = 0

    def newer(progress: dict[str, Any]) -> bool:
        nonlocal seen
        seen = progress.get("checkpoint", {}).get("step", 0)
        return progress["phase"] == "Training" and seen > step

    job.wait_progress(f"a checkpoint beyond step {step}, {when}", newer)
    return seen


def begun(job: Job, times: int, when: str) -> int:
    """The step at which both workers began for the `times`-th time, once they have."""

    def look() -> list[int] | None:
        job.replace_ended()
        steps = [record["step"] for record in job.log_lines("training begins")]
        return steps[2 * (times - 1) :] if len(steps) >= 2 * times else None

    first, second = wait_for(f"both workers begin, {when}; {job.logs()}", look, seconds=60)
    assert first == second, when
    return first


def test_a_run_that_suffers_one_fault_after_another_ends_as_an_undisturbed_one(world: World, undisturbed: Manifest) -> None:
    run = world.run("disturbed", workers=2, **LONG)
    with world.job(run) as job:
        step = begun(job, 1, "at the start")
        for times, (sentence, (fault, _)) in enumerate(FAULTS.items(), start=2):
            saved = checkpoint_after(job, step, f"before {sentence}")
            fault(job)
            step = begun(job, times, f"after {sentence}")
            assert saved <= step < STEPS, f"{sentence}: the run goes on from its newest checkpoint"
        results = job.finish()
        ended, began = job.ended, job.log_lines("training begins")
        reasons = {record["reason"] for record in job.log_lines("the worker ends")}

    assert reasons == {"PeerLost", "Stopped", "Published"}
    assert len(began) == 2 * (1 + len(FAULTS)), "each fault makes the workers begin once"
    replaced = [end for _, ends in FAULTS.values() for end in ends]
    assert sorted(ended) == sorted([*replaced, (0, 0), (1, 0)])
    manifest = world.published(run)
    assert manifest is not None
    assert weights(manifest) == weights(undisturbed)
    assert world.owners().count("disturbed") == 1
    for result in results.values():
        assert result is not None
        assert result.model is not None
        assert result.outcome == "Succeeded"
        assert result.model.step == STEPS
        assert result.model.version.version == manifest.version
    assert list(world.store.list(RunFolder(world.store, run.name, run.uid).checkpoints)) == []


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """As a pod without a request for CPUs has; several would wait for one another beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_two_workers_learn_what_one_learns(world: World, undisturbed: Manifest) -> None:
    run = world.run("alone", workers=1, **LONG)
    folder, data = RunFolder(world.store, run.name, run.uid), load(world.store, run.dataset)
    trained = Trainer(
        spec=run.spec,
        data=data,
        group=Group(),
        checkpoints=Checkpoints(world.store, folder.checkpoints, keep=1, fingerprint=fingerprint(run)),
        folder=folder,
        report=lambda **_: None,
        stop_requested=lambda: False,
    ).train()
    assert undisturbed.model is not None
    assert evaluate_on_test(data, trained.module) == pytest.approx(undisturbed.model.metrics, abs=1e-3)

    def validation_losses(uid: str) -> list[float]:
        points = RunFolder(world.store, run.name, uid).points()
        return [point.loss for point in points if point.split == "validation"]

    losses = validation_losses("alone")
    assert len(losses) == 30
    assert losses == pytest.approx(validation_losses("undisturbed"), abs=1e-4)


def test_a_pod_that_comes_when_all_is_done_finds_it_done(world: World, undisturbed: Manifest) -> None:
    run = world.run("undisturbed", workers=2, **LONG)
    job = Job(run, world.environment, world.folder / "undisturbed")
    pod = job.start(1)
    wait_for(f"the pod ends; {job.logs()}", pod.process.poll, seconds=60)
    result = pod.result()
    assert pod.process.returncode == 0
    assert result is not None
    assert result.model is not None
    assert result.model.version.version == undisturbed.version
    assert world.owners().count("undisturbed") == 1


def test_a_pod_that_waits_for_others_leaves_when_told_to(world: World) -> None:
    job = world.job(world.run("lonely", workers=2))
    pod = job.start(1)

    def waiting() -> bool | None:
        progress = pod.progress()
        return True if progress and "waiting until all 2 workers are there" in progress.get("message", "") else None

    wait_for(f"the pod waits; {job.logs()}", waiting, seconds=60)
    os.kill(pod.process.pid, signal.SIGTERM)
    assert wait_for(f"the pod ends; {job.logs()}", pod.process.poll, seconds=30) == 44
    result = pod.result()
    assert result is not None
    assert result.outcome == "Stopped"


def test_what_cannot_be_trained_ends_all_pods_with_the_reason(world: World) -> None:
    run = world.run("unfit", workers=2, recipe="linear")
    with world.job(run) as job:
        results = job.finish()
    assert sorted(job.ended) == [(0, 40), (1, 40)]
    for result in results.values():
        assert result is not None
        assert (result.outcome, result.reason) == ("Failed", "RecipeDoesNotFit")
        assert "use one of logistic, mlp, cnn" in result.message
    assert world.published(run) is None
    assert RunFolder(world.store, run.name, run.uid).result() == results[0]


def test_a_worker_that_dies_more_often_than_it_may_ends_the_pod(world: World) -> None:
    run = world.run("mortal", workers=1, restarts={"max": 0}, **LONG)
    job = world.job(run)
    pod = job.start(0)

    def training() -> bool | None:
        progress = pod.progress()
        return True if progress and progress["phase"] == "Training" else None

    wait_for(f"training begins; {job.logs()}", training, seconds=60)
    os.kill(pod.worker(), signal.SIGKILL)
    assert wait_for(f"the pod ends; {job.logs()}", pod.process.poll, seconds=30) == 1
    result = pod.result()
    assert result is not None
    assert (result.outcome, result.reason) == ("Failed", "WorkerDied")
    assert "raise resources.memory" in result.message
