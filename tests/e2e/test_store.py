"""The store goes away, or bytes in it change: what answers goes on, and what cannot start says why on the object."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from kube import SYSTEM_NAMESPACE, Namespace, Upload, condition_of, eventually
from objects import dataset, inference_service, training_job

SYSTEM = Namespace(SYSTEM_NAMESPACE)
STORE = "deployment/windlass-store"
SERVERS = "windlass.dev/inferenceservice=digits"
# Writes other bytes over every file of version 1, as a failing disk or a person would.
DAMAGE = """
import os
from windlass_core.store import Store
store = Store.open(os.environ["PLACE"], os.environ)
damaged = [entry.path for entry in store.list("models/digits/1/files") if entry.path.endswith(".onnx")]
for path in damaged:
    store.write(path, store.read(path)[:-1] + b"!")
print(len(damaged))
"""


@pytest.fixture(scope="module")
def serving(module_namespace: Namespace, upload: Upload, digits_csv: bytes) -> Namespace:
    """A service of one pod."""
    namespace = module_namespace
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(stop={"epochs": 3}), inference_service(replicas={"min": 1, "max": 1}))
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)
    return namespace


@contextmanager
def store_away() -> Iterator[None]:
    """Nobody answers at the store's address."""
    SYSTEM.kubectl("scale", STORE, "--replicas=0")
    try:
        pods = "app.kubernetes.io/name=windlass-store"
        eventually(lambda: not SYSTEM.list("pods", pods), seconds=60, what="the end of the store")
        yield
    finally:
        SYSTEM.kubectl("scale", STORE, "--replicas=1")
        SYSTEM.kubectl("rollout", "status", STORE, "--timeout=90s", seconds=100)


def answers(namespace: Namespace) -> bool:
    with namespace.forward("service/digits") as url:
        asked = httpx.post(f"{url}/v1/models/digits:predict", json={"instances": [[0] * 64]}, timeout=30)
    return asked.status_code == httpx.codes.OK


def replace_pods(namespace: Namespace) -> None:
    namespace.kubectl("delete", "pods", "-l", SERVERS, "--wait=false")


def test_a_server_answers_on_without_the_store_and_a_new_one_waits_for_it_and_says_so(serving: Namespace) -> None:
    with store_away():
        assert answers(serving)
        replace_pods(serving)
        found = serving.wait_reason("inferenceservice", "digits", "Ready", "WaitingForStore", seconds=120)
        condition = condition_of(found, "Ready")
        assert condition["status"] == "False"
        assert "waiting for version 1 of model 'digits'" in condition["message"]
    serving.wait_condition("inferenceservice", "digits", "Ready", seconds=120)
    assert answers(serving)


def damage(namespace: Namespace) -> None:
    """Change the version's program in the store, by a pod that has the store's credentials as those of Windlass have."""
    [server] = namespace.list("pods", SERVERS)
    theirs = server["spec"]["containers"][0]
    place = {"name": "PLACE", "value": namespace.name}
    container = {key: theirs[key] for key in ("image", "envFrom", "securityContext")}
    container |= {"name": "damage", "command": ["python3", "-c", DAMAGE], "env": [place]}
    spec = {"containers": [container], "restartPolicy": "Never", "securityContext": server["spec"]["securityContext"]}
    # The store lets in what bears the name of one of our programs.
    metadata = {"name": "damage", "labels": {"app.kubernetes.io/name": "windlass-infer"}}
    namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    namespace.wait("pod", "damage", lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), seconds=60, what="its end")
    assert int(namespace.kubectl("logs", "damage").split()[-1]) >= 1


def test_a_version_whose_bytes_were_changed_is_refused_with_the_reason_on_the_object(serving: Namespace) -> None:
    damage(serving)
    assert answers(serving), "what was read before goes on"
    replace_pods(serving)
    found = serving.wait_reason("inferenceservice", "digits", "Ready", "ModelLoadFailed", seconds=120)
    message = condition_of(found, "Ready")["message"]
    assert "was published; the file was changed or damaged in the store" in message, message
    assert condition_of(found, "Available")["status"] == "False"
