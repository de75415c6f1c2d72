"""The operator's process against a real API server with the real Job and Deployment controllers; only kubelets are played here.

What a cluster in memory cannot vouch for: that the API server takes every child as it is written, that server-side apply leaves
the autoscaler's number alone and takes away what is left out, that watches lead to the right keys, and that the process ends
and starts as it should.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders as b
import kopf
import pytest
from control_plane import ControlPlane, control_plane
from operator_process import SECONDS, OperatorProcess, Team, eventually, operator_process

from windlass_operator.api import PARENTS, WATCHED_CHILDREN
from windlass_operator.handlers import operator_settings

CRDS = sorted((Path(__file__).parents[2] / "charts/windlass/files/crds").glob("*.yaml"))


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane(CRDS) as made:
        yield made


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator[OperatorProcess]:
    with operator_process(plane, tmp_path) as made:
        made.start()
        yield made


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


def test_from_data_to_an_answering_service_in_reverse_order(plane: ControlPlane, operator: OperatorProcess) -> None:
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


def test_killed_at_any_time_it_goes_on_where_it_was(plane: ControlPlane, operator: OperatorProcess) -> None:
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


def test_the_number_of_pods_belongs_to_the_autoscaler_and_left_out_fields_go(
    plane: ControlPlane, operator: OperatorProcess
) -> None:
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


def test_a_child_deleted_by_hand_is_back_and_a_foreign_one_is_left_alone(
    plane: ControlPlane, operator: OperatorProcess
) -> None:
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


def test_bad_data_is_told_at_once_and_deletion_leaves_nothing(plane: ControlPlane, operator: OperatorProcess) -> None:
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


def test_a_part_that_fails_ends_the_whole_process(operator: OperatorProcess) -> None:
    operator.launch()
    code, log = operator.ended()
    assert code == 1, "its port is taken"
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
