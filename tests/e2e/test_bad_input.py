"""What cannot work says so on the object, with a stable reason and what to do, and leaves nothing running."""

from typing import Any

import pytest
from kube import KubectlError, Namespace, Upload, condition_of, eventually
from objects import dataset, training_job


def running_pods(namespace: Namespace) -> list[str]:
    return [pod["metadata"]["name"] for pod in namespace.list("pods") if pod["status"]["phase"] in ("Pending", "Running")]


@pytest.mark.parametrize(
    ("data", "spec", "reason", "said"),
    [
        pytest.param(b"a,b,digit\n1,2,3\n1,2\n", {}, "BadData", "line 3", id="a row that is too short is named by its line"),
        pytest.param(b"a,b,digit\n", {}, "EmptySource", "has no rows", id="a file without a row"),
        pytest.param(b"a,b\n1,2\n3,4\n", {"label": "digit"}, "LabelNotFound", "a, b", id="a label that no column bears"),
    ],
)
def test_bad_data_is_named_and_nothing_is_left_running(
    data: bytes, spec: dict[str, Any], reason: str, said: str, namespace: Namespace, upload: Upload
) -> None:
    upload(namespace, "digits.csv", data)
    namespace.apply(dataset(**spec))
    found = namespace.wait_reason("dataset", "digits", "Ready", reason, seconds=90)
    condition = condition_of(found, "Ready")
    assert condition["status"] == "False"
    assert said in condition["message"]
    eventually(lambda: running_pods(namespace) == [], seconds=30, what="the end of all pods")


def test_bad_data_mended_by_an_edit_goes_on(namespace: Namespace, upload: Upload, digits_csv: bytes) -> None:
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(label="number"))
    namespace.wait_reason("dataset", "digits", "Ready", "LabelNotFound", seconds=90)
    namespace.apply(dataset(label="digit"))
    found = namespace.wait_condition("dataset", "digits", "Ready", seconds=90)
    assert found["status"]["version"] == 1


@pytest.mark.parametrize(
    ("job", "said"),
    [
        pytest.param(training_job(recipe="transformer"), "linear", id="an unknown recipe is told the known ones"),
        pytest.param(training_job(workers=0), "workers", id="no workers"),
        pytest.param(training_job(parameters={"channels": [8]}), "recipe cnn", id="a parameter of another recipe"),
        pytest.param(training_job(resources={"gpu": {"count": -1}}), "gpu.count", id="a negative number of GPUs"),
        pytest.param(training_job(epochs=3), "epochs", id="a field that does not exist"),
    ],
)
def test_a_job_that_cannot_be_is_refused_when_it_is_applied(job: dict[str, Any], said: str, namespace: Namespace) -> None:
    with pytest.raises(KubectlError) as refused:
        namespace.apply(job)
    assert said in str(refused.value)


def test_a_run_is_not_edited(namespace: Namespace) -> None:
    namespace.apply(training_job())
    with pytest.raises(KubectlError, match="make another one with another name"):
        namespace.apply(training_job(workers=2))


def test_more_gpus_than_any_node_has_is_said_at_once_and_goes_with_the_object(
    namespace: Namespace, upload: Upload, digits_csv: bytes
) -> None:
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(resources={"gpu": {"count": 64}}))
    found = namespace.wait_reason("trainingjob", "digits", "Succeeded", "Unschedulable", seconds=120)
    assert "nvidia.com/gpu" in condition_of(found, "Succeeded")["message"]
    namespace.delete("trainingjob", "digits")
    eventually(lambda: running_pods(namespace) == [], seconds=60, what="the end of all pods")


def test_a_recipe_that_does_not_fit_the_data_fails_with_what_to_change(namespace: Namespace, upload: Upload) -> None:
    rows = "".join(f"{index % 7},{index % 5},{'cat' if index % 2 else 'dog'}\n" for index in range(100))
    upload(namespace, "pets.csv", f"size,age,kind\n{rows}".encode())
    namespace.apply(dataset("pets", uri="store://raw/pets.csv", label="kind"), training_job(data="pets", recipe="linear"))
    found = namespace.wait_condition("trainingjob", "digits", "Succeeded", "False", seconds=120)
    condition = condition_of(found, "Succeeded")
    assert condition["reason"] == "RecipeDoesNotFit"
    assert "logistic" in condition["message"]
    eventually(lambda: running_pods(namespace) == [], seconds=30, what="the end of all pods")


def test_more_memory_than_asked_for_is_named_as_such(namespace: Namespace, upload: Upload, digits_csv: bytes) -> None:
    upload(namespace, "digits.csv", digits_csv)
    # torch alone needs more than this.
    namespace.apply(dataset(), training_job(resources={"memory": "48Mi"}, restarts={"max": 0}))
    found = namespace.wait_condition("trainingjob", "digits", "Succeeded", "False", seconds=180)
    condition = condition_of(found, "Succeeded")
    assert condition["reason"] == "OutOfMemory"
    assert "resources.memory" in condition["message"]
