"""Moving an alias rolls a service to another version and back, and no request of a client in the cluster fails."""

import json

import pytest
from kube import KubectlError, Namespace, Upload, eventually
from objects import dataset, inference_service, training_job

# Runs in a pod beside the service, as a client in the cluster does: a new connection every few requests, so that it meets every
# change of endpoints. It prints one JSON line a second and never stops by itself.
CLIENT = """
import http.client, json, time
answers, failures, last = {}, [], time.monotonic()
body = json.dumps({"instances": [[0] * 64]})
while True:
    connection = http.client.HTTPConnection("digits", timeout=20)
    for _ in range(5):
        try:
            connection.request("POST", "/v1/models/digits:predict", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                version = json.loads(text)["model"]["version"]
                answers[version] = answers.get(version, 0) + 1
                newest = version
            else:
                failures.append(f"{answer.status} {text[:200]}")
        except Exception as error:
            failures.append(repr(error))
            break
    connection.close()
    if time.monotonic() - last > 0.5:
        last = time.monotonic()
        print(json.dumps({"answers": answers, "newest": newest, "failures": failures[:5], "failed": len(failures)}), flush=True)
"""


def client_pod(image: str) -> dict[str, object]:
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "client", "image": image, "command": ["python3", "-c", CLIENT], "securityContext": security}
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}


def heard(namespace: Namespace) -> dict[str, object]:
    try:
        lines = namespace.kubectl("logs", "client", "--tail=1").splitlines()
    except KubectlError:  # the container has not started
        lines = []
    return dict(json.loads(lines[-1])) if lines else {"answers": {}, "newest": None, "failed": 0, "failures": []}


def alias_moved_to(namespace: Namespace, version: int) -> None:
    patch = {"spec": {"aliases": [{"name": "production", "version": version}]}}
    namespace.kubectl("patch", "model", "digits", "--type=merge", "-p", json.dumps(patch))


@pytest.fixture(scope="module")
def two_versions(module_namespace: Namespace, upload: Upload, digits_csv: bytes) -> Namespace:
    """A service of version 1, version 2 beside it, and a client that never pauses."""
    namespace = module_namespace
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job("first", stop={"epochs": 3}), inference_service(replicas={"min": 2, "max": 2}))
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)
    namespace.apply(training_job("second", alias=None, stop={"epochs": 6}))
    namespace.wait_condition("trainingjob", "second", "Succeeded", seconds=180)
    [server, *_] = namespace.list("pods", "windlass.dev/inferenceservice=digits")
    namespace.apply(client_pod(server["spec"]["containers"][0]["image"]))
    eventually(lambda: heard(namespace)["newest"] == 1, seconds=60, what="an answer of version 1")
    return namespace


def test_a_second_run_without_an_alias_changes_nothing_for_clients(two_versions: Namespace) -> None:
    model = two_versions.get("model", "digits")
    assert model is not None
    assert [version["version"] for version in model["status"]["versions"]] == [2, 1]
    assert model["spec"]["aliases"] == [{"name": "production", "version": 1}]
    assert heard(two_versions)["answers"].keys() == {"1"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", [pytest.param(2, id="promotion"), pytest.param(1, id="rollback")])
def test_an_alias_edit_rolls_out_without_a_failed_request_and_is_noted(two_versions: Namespace, version: int) -> None:
    alias_moved_to(two_versions, version)
    eventually(lambda: heard(two_versions)["newest"] == version, seconds=90, what=f"an answer of version {version}")
    service = two_versions.wait(
        "inferenceservice",
        "digits",
        lambda item: item["status"]["model"]["version"] == version and item["status"]["replicas"]["updated"] == 2,
        seconds=90,
        what=f"two pods of version {version}",
    )
    assert service["status"]["model"]["digest"].startswith("sha256:")
    # All pods of the old version end, drained, before the client is asked how it fared.
    eventually(
        lambda: len(two_versions.list("pods", "windlass.dev/inferenceservice=digits")) == 2,
        seconds=90,
        what="the end of old pods",
    )
    report = heard(two_versions)
    assert report["failed"] == 0, report
    model = two_versions.get("model", "digits")
    assert model is not None
    newest = model["status"]["history"][0]
    assert (newest["alias"], newest["version"], newest["previous"]) == ("production", version, 3 - version)


def test_an_alias_to_a_version_that_is_not_there_is_named_and_the_old_one_serves_on(two_versions: Namespace) -> None:
    alias_moved_to(two_versions, 99)
    two_versions.wait_reason("model", "digits", "Ready", "AliasVersionNotFound", seconds=30)
    before = heard(two_versions)["answers"]
    eventually(lambda: heard(two_versions)["answers"] != before, seconds=30, what="further answers")
    report = heard(two_versions)
    assert (report["failed"], report["newest"]) == (0, 1), report
    alias_moved_to(two_versions, 1)
    two_versions.wait_condition("inferenceservice", "digits", "Ready", seconds=60)
