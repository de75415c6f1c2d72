"""Moving an alias rolls a service to another version and back, and no request of a client in the cluster fails."""

import json
from collections.abc import Callable

import pytest
from kube import KubectlError, Namespace, Upload, eventually
from objects import dataset, inference_service, training_job
from steady_client import client_pod

CONNECTIONS = 4
BODY = json.dumps({"instances": [[0] * 64]})


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
    namespace.apply(client_pod(server["spec"]["containers"][0]["image"], "digits", BODY, CONNECTIONS))
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


def server_names(namespace: Namespace) -> set[str]:
    """Names of the service's pods."""
    return {pod["metadata"]["name"] for pod in namespace.list("pods", "windlass.dev/inferenceservice=digits")}


def evict(namespace: Namespace, pod: str) -> None:
    """Let a pod go as a drained node does, by the eviction API, when the disruption budget allows it."""
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}}

    def accepted() -> bool:
        try:
            namespace.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
        except KubectlError as error:
            if "disruption budget" not in str(error):
                raise
            return False
        return True

    eventually(accepted, seconds=90, what=f"the eviction of {pod}")


def settled(namespace: Namespace, pods: int, *, without: set[str]) -> None:
    """Wait until so many pods answer and none of the others is left."""

    def done() -> bool:
        now = server_names(namespace)
        return len(now) == pods and not now & without

    eventually(done, seconds=120, what=f"{pods} pods, none of them {sorted(without)}")
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=90)


def drained(namespace: Namespace) -> None:
    """Every pod leaves its node, one after the other."""
    for pod in sorted(server_names(namespace)):
        evict(namespace, pod)
        settled(namespace, 2, without={pod})


def rolled(namespace: Namespace) -> None:
    """Every pod is replaced because the spec changed."""
    before = server_names(namespace)
    patch = {"spec": {"env": [{"name": "ROUND", "value": "2"}], "batch": {"max": 32}}}
    namespace.kubectl("patch", "inferenceservice", "digits", "--type=merge", "-p", json.dumps(patch))
    settled(namespace, 2, without=before)


def scaled_down_and_up(namespace: Namespace) -> None:
    """One pod less, and one more again."""
    for pods in (1, 2):
        patch = {"spec": {"replicas": {"min": pods, "max": pods}}}
        namespace.kubectl("patch", "inferenceservice", "digits", "--type=merge", "-p", json.dumps(patch))
        settled(namespace, pods, without=set())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(drained, id="its node is drained"),
        pytest.param(rolled, id="its spec changes"),
        pytest.param(scaled_down_and_up, id="it is scaled down and up"),
    ],
)
def test_no_request_fails_while(two_versions: Namespace, change: Callable[[Namespace], None]) -> None:
    change(two_versions)
    before = heard(two_versions)["answers"]
    eventually(lambda: heard(two_versions)["answers"] != before, seconds=30, what="further answers")
    report = heard(two_versions)
    assert report["failed"] == 0, report


def test_an_alias_to_a_version_that_is_not_there_is_named_and_the_old_one_serves_on(two_versions: Namespace) -> None:
    alias_moved_to(two_versions, 99)
    two_versions.wait_reason("model", "digits", "Ready", "AliasVersionNotFound", seconds=30)
    before = heard(two_versions)["answers"]
    eventually(lambda: heard(two_versions)["answers"] != before, seconds=30, what="further answers")
    report = heard(two_versions)
    assert (report["failed"], report["newest"]) == (0, 1), report
    alias_moved_to(two_versions, 1)
    two_versions.wait_condition("inferenceservice", "digits", "Ready", seconds=60)


def test_of_a_hundred_thousand_requests_through_all_of_this_none_failed(two_versions: Namespace) -> None:
    def answered() -> int:
        return sum(heard(two_versions)["answers"].values())  # type: ignore[attr-defined]

    eventually(lambda: answered() >= 100_000, seconds=300, what="a hundred thousand answers")
    report = heard(two_versions)
    assert report["failed"] == 0, report
