"""The operator's process against a real API server with the real Job and Deployment controllers; only kubelets are played here.

What a cluster in memory cannot vouch for: that the API server takes every child as it is written, that server-side apply leaves
the autoscaler's number alone and takes away what is left out, that watches lead to the right keys, and that the process ends
and starts as it should.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builders as b
import kopf
import pytest
from control_plane import ControlPlane, control_plane

from windlass_operator.api import PARENTS, WATCHED_CHILDREN, Manifest
from windlass_operator.handlers import operator_settings

CRDS = sorted((Path(__file__).parents[2] / "charts/windlass/files/crds").glob("*.yaml"))
SECONDS = 20.0  # within which all that is waited for comes, on a busy machine
PORT = 18083


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane(CRDS) as made:
        yield made


class Process:
    """The operator as it runs in its pod."""

    def __init__(self, plane: ControlPlane) -> None:
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(plane.kubeconfig),
            "WINDLASS_IMAGE_PREPROCESS": "preprocess:1",
            "WINDLASS_IMAGE_TRAIN": "train:1",
            "WINDLASS_IMAGE_INFER": "infer:1",
            "WINDLASS_IMAGE_INFER_TORCH": "infer-torch:1",
            "WINDLASS_STORE_URL": "s3://windlass",
            "AWS_SECRET_ACCESS_KEY": "hush-hush",
            "WINDLASS_PORT": str(PORT),
        }
        self.start()

    def start_another(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "windlass_operator"]
        return subprocess.Popen(command, env=self._environment, stderr=subprocess.PIPE, text=True)

    def start(self) -> None:
        self.process = self.start_another()
        eventually(self.is_ready, "the operator is ready")

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            return False

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Exit code and log."""
        self.process.send_signal(how)
        _, log = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, log


@pytest.fixture
def operator(plane: ControlPlane) -> Iterator[Process]:
    made = Process(plane)
    yield made
    if made.process.poll() is None:
        made.end(signal.SIGTERM)


class Team:
    """A namespace of its own for one test."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        self._plane, self._name = plane, name
        plane.kubectl("create", "namespace", name)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._plane.kubectl("--namespace", self._name, *arguments, stdin=stdin)

    def apply(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            plain = {**manifest, "metadata": {"name": manifest["metadata"]["name"]}}
            plain.pop("status", None)
            self.kubectl("apply", "-f", "-", stdin=json.dumps(plain))

    def get(self, kind: str, name: str) -> Any:
        text = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text else None

    def all(self, kind: str, selector: str = "") -> list[Any]:
        found: list[Any] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def patch(self, kind: str, name: str, patch: Any, *options: str) -> None:
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch), *options)

    def pods(self, kind: str, name: str, count: int) -> list[str]:
        """Names of an object's pods, as soon as there are so many."""
        selector = f"windlass.dev/{kind}={name}"
        eventually(lambda: len(self.all("pods", selector)) == count, f"{count} pods of {kind} {name}")
        return sorted(pod["metadata"]["name"] for pod in self.all("pods", selector))

    def play(self, pod: str, status: Manifest) -> None:
        """What a kubelet writes."""
        container = self.get("pod", pod)["spec"]["containers"][0]["name"]
        filled = [
            {"name": container, "image": "x", "imageID": "x", "restartCount": 0, "ready": False, **entry}
            for entry in status.get("containerStatuses", [])
        ]
        self.patch("pod", pod, {"status": {**status, "containerStatuses": filled}}, "--subresource=status")

    def wait(self, kind: str, name: str, reason: str) -> Any:
        """The object as soon as its first condition has the reason."""

        def there() -> bool:
            conditions = ((self.get(kind, name) or {}).get("status") or {}).get("conditions") or [{}]
            return bool(conditions[0].get("reason") == reason)

        eventually(there, f"{kind} {name}: {reason}", lambda: self.get(kind, name))
        return self.get(kind, name)


def eventually(probe: Callable[[], bool], what: str, shown: Callable[[], Any] = lambda: None) -> None:
    deadline = time.monotonic() + SECONDS
    while not probe():
        assert time.monotonic() < deadline, f"{what} did not come: {shown()}"


def prepare(team: Team) -> None:
    """A Dataset whose version is there."""
    team.apply(b.dataset())
    (pod,) = team.pods("dataset", "digits", 1)
    team.play(pod, b.running())
    team.wait("dataset", "digits", "Preparing")
    team.play(pod, b.ended(0, b.dataset_result()))
    team.wait("dataset", "digits", "Prepared")


def train(team: Team) -> None:
    """A run that has published version 1 under an alias."""
    team.apply(b.training_job(publish={"alias": "production"}))
    workers = team.pods("trainingjob", "run", 2)
    for worker in workers:
        team.play(worker, b.running())
    team.wait("trainingjob", "run", "Running")
    team.play(workers[0], b.ended(0, b.model_result().to_termination_message()))
    team.wait("trainingjob", "run", "Published")


def test_from_data_to_an_answering_service_in_reverse_order(plane: ControlPlane, operator: Process) -> None:
    team = Team(plane, "loop")
    team.apply(b.inference_service())
    team.wait("inferenceservice", "digits", "WaitingForModel")
    prepare(team)
    train(team)
    (server,) = team.pods("inferenceservice", "digits", 1)
    team.play(server, b.running(ready=True))
    service = team.wait("inferenceservice", "digits", "Serving")
    assert service["status"]["model"] == {"name": "digits", "version": 1, "digest": "sha256:model1"}
    assert team.get("model", "digits")["status"]["aliases"] == "production=1"
    assert team.get("service", "train-run") is None
    code, log = operator.end(signal.SIGTERM)
    assert code == 0
    assert "hush-hush" not in log


def test_killed_at_any_time_it_goes_on_where_it_was(plane: ControlPlane, operator: Process) -> None:
    team = Team(plane, "killed")
    team.apply(b.dataset())
    (pod,) = team.pods("dataset", "digits", 1)
    operator.end(signal.SIGKILL)
    team.play(pod, b.ended(0, b.dataset_result()))
    team.apply(b.training_job(workers=1))
    operator.start()
    team.wait("dataset", "digits", "Prepared")
    (worker,) = team.pods("trainingjob", "run", 1)
    operator.end(signal.SIGKILL)
    team.play(worker, b.ended(0, b.model_result().to_termination_message()))
    operator.start()
    team.wait("trainingjob", "run", "Published")
    jobs = [job["metadata"]["name"] for job in team.all("jobs")]
    assert len(jobs) == 2, jobs


def serve(team: Team, **spec: Any) -> None:
    """A Model with two versions, and a service that follows its alias."""
    model = b.model(versions=[1, 2], aliases={"production": 1})
    team.apply(model)
    team.patch("model", "digits", {"status": model["status"]}, "--subresource=status")
    team.apply(b.inference_service(**spec))


def test_the_number_of_pods_belongs_to_the_autoscaler_and_left_out_fields_go(plane: ControlPlane, operator: Process) -> None:
    team = Team(plane, "scaled")
    serve(team, replicas={"min": 2, "max": 9}, resources={"memory": "1Gi"})
    eventually(lambda: (team.get("deployment", "digits") or {}).get("spec", {}).get("replicas") == 2, "two pods at once")
    team.kubectl("scale", "deployment", "digits", "--replicas=5")
    team.patch("inferenceservice", "digits", {"spec": {"resources": None}})

    def limits() -> Any:
        return team.get("deployment", "digits")["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits")

    eventually(lambda: limits() is None, "the limit is gone", limits)
    assert team.get("deployment", "digits")["spec"]["replicas"] == 5
    assert operator.is_ready()


def test_a_child_deleted_by_hand_is_back_and_a_foreign_one_is_left_alone(plane: ControlPlane, operator: Process) -> None:
    team = Team(plane, "meddled")
    team.kubectl("create", "service", "clusterip", "digits", "--tcp=80:80")
    foreign = team.get("service", "digits")["metadata"]["resourceVersion"]
    serve(team)
    team.wait("inferenceservice", "digits", "NameTaken")
    assert team.get("service", "digits")["metadata"]["resourceVersion"] == foreign
    team.kubectl("delete", "service", "digits")
    team.wait("inferenceservice", "digits", "Starting")
    for kind in ("service", "hpa", "pdb", "networkpolicy"):
        before = team.get(kind, "digits")["metadata"]["uid"]
        team.kubectl("delete", kind, "digits", "--wait=false")
        eventually(lambda kind=kind, before=before: is_anew(team.get(kind, "digits"), before), f"a new {kind}")  # type: ignore[misc]
    assert operator.is_ready()


def is_anew(found: Any, before: str) -> bool:
    return found is not None and found["metadata"]["uid"] != before


def test_bad_data_is_told_at_once_and_deletion_leaves_nothing(plane: ControlPlane, operator: Process) -> None:
    team = Team(plane, "bad")
    team.apply(b.dataset())
    (pod,) = team.pods("dataset", "digits", 1)
    team.play(pod, b.ended(41, b.failed_result("LabelMissing", "There is no column digit.")))
    told = team.wait("dataset", "digits", "LabelMissing")["status"]["conditions"][0]
    assert (told["status"], told["message"]) == ("False", "There is no column digit.")
    events = [event for event in team.all("events") if event["reason"] == "LabelMissing"]
    assert [event["type"] for event in events] == ["Warning"]
    assert team.get("secret", "windlass-store") is not None
    team.kubectl("delete", "dataset", "digits")
    eventually(lambda: team.all("jobs") == [], "the Job is gone")
    eventually(lambda: team.get("secret", "windlass-store") is None, "the Secret is gone")
    team.apply(b.dataset())
    eventually(lambda: team.get("secret", "windlass-store") is not None, "the Secret is back")
    assert operator.is_ready()


def test_a_part_that_fails_ends_the_whole_process(operator: Process) -> None:
    second = operator.start_another()
    _, log = second.communicate(timeout=SECONDS)
    assert second.returncode == 1, "its port is taken"
    assert "the operator ends after an error" in log
    assert operator.is_ready()


def test_without_a_cluster_it_says_so_and_ends() -> None:
    environment = {**os.environ, "KUBECONFIG": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "windlass_operator"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "WINDLASS_IMAGE_PREPROCESS is not set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", WATCHED_CHILDREN, ids=lambda kind: kind.name)
def test_the_server_sends_children_of_ours_only(kind: Any) -> None:
    resource = kopf.Resource(kind.group, kind.version, kind.plural, kind=kind.name)
    assert operator_settings().watching.label_selectors.collect(resource) == ["app.kubernetes.io/managed-by=windlass"]


@pytest.mark.parametrize("kind", PARENTS, ids=lambda kind: kind.name)
def test_the_server_sends_all_objects_of_our_kinds(kind: Any) -> None:
    resource = kopf.Resource(kind.group, kind.version, kind.plural, kind=kind.name)
    assert operator_settings().watching.label_selectors.collect(resource) == []
