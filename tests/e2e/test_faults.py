"""Whatever is killed, and whenever: the end result is the same, and nothing is made twice."""

import json

import pytest
from kube import SYSTEM_NAMESPACE, Namespace, Upload, condition_of, eventually
from objects import dataset, inference_service, training_job

SYSTEM = Namespace(SYSTEM_NAMESPACE)
OPERATOR = "app.kubernetes.io/name=windlass-operator"


def kill(namespace: Namespace, pod: str) -> None:
    """As a lost node does it: no warning, no grace."""
    namespace.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")


def kill_operator() -> None:
    for pod in SYSTEM.list("pods", OPERATOR):
        kill(SYSTEM, pod["metadata"]["name"])


PHASES = {
    "while the data is prepared": ("dataset", "Ready", {"Preparing", "Starting", "Pending"}),
    "while pods of the run start": ("trainingjob", "Succeeded", {"Starting", "Pending"}),
    "while the run trains": ("trainingjob", "Succeeded", {"Running"}),
    "while the service rolls out": ("inferenceservice", "Ready", {"Starting", "Progressing", "RollingOut", "Pending"}),
}


@pytest.mark.parametrize("phase", PHASES)
def test_an_operator_killed_changes_nothing_in_the_end(
    phase: str, namespace: Namespace, upload: Upload, digits_csv: bytes
) -> None:
    kind, condition, reasons = PHASES[phase]
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(stop={"epochs": 10}), inference_service())
    namespace.wait(
        kind, "digits", lambda item: condition_of(item, condition).get("reason") in reasons, seconds=120, what=str(reasons)
    )
    kill_operator()
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=240)
    model = namespace.wait_condition("model", "digits", "Ready", seconds=10)
    assert [version["version"] for version in model["status"]["versions"]] == [1]
    assert model["spec"]["aliases"] == [{"name": "production", "version": 1}]
    job = namespace.wait_condition("trainingjob", "digits", "Succeeded", seconds=10)
    assert job["status"]["restarts"] == 0


@pytest.mark.parametrize(
    "index", [pytest.param("0", id="the worker that hosts the rendezvous"), pytest.param("1", id="another worker")]
)
def test_a_training_pod_killed_resumes_from_its_checkpoint_and_finishes(
    index: str, namespace: Namespace, upload: Upload, digits_csv: bytes
) -> None:
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(workers=2, checkpoint={"every": 20}, stop={"epochs": 200}))
    saved = namespace.wait(
        "trainingjob",
        "digits",
        lambda item: item.get("status", {}).get("checkpoint", {}).get("step", 0) > 0,
        seconds=180,
        what="a checkpoint",
    )["status"]["checkpoint"]["step"]
    [victim] = namespace.list("pods", f"windlass.dev/trainingjob=digits,batch.kubernetes.io/job-completion-index={index}")
    kill(namespace, victim["metadata"]["name"])
    job = namespace.wait_condition("trainingjob", "digits", "Succeeded", seconds=300)
    assert job["status"]["model"]["version"] == 1
    assert float(job["status"]["metrics"]["accuracy"]) >= 0.96
    pods = namespace.list("pods", "windlass.dev/trainingjob=digits")
    logs = [namespace.kubectl("logs", pod["metadata"]["name"]).splitlines() for pod in pods]
    said = [json.loads(line) for lines in logs for line in lines]
    resumed = [entry["step"] for entry in said if entry["message"] == "resumed from a checkpoint"]
    assert resumed, "no worker said that it resumed"
    assert max(resumed) >= saved


def test_a_server_pod_killed_comes_back_and_the_service_says_so(
    namespace: Namespace, upload: Upload, digits_csv: bytes
) -> None:
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(stop={"epochs": 3}), inference_service())
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)
    [pod] = namespace.list("pods", "windlass.dev/inferenceservice=digits")
    kill(namespace, pod["metadata"]["name"])
    eventually(
        lambda: (
            [item["metadata"]["name"] for item in namespace.list("pods", "windlass.dev/inferenceservice=digits")]
            not in ([], [pod["metadata"]["name"]])
        ),
        seconds=60,
        what="another pod",
    )
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=60)
