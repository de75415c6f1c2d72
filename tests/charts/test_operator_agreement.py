"""What the chart tells the operator is what the operator reads, and the pods that it then makes fit what the chart made."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from manifests import environment, of_kind, one, pod_templates, selected
from pod_security import violations

from windlass_core.contracts import VersionReference
from windlass_core.resources import DatasetSpec, InferenceServiceSpec, TrainingJobSpec
from windlass_operator import manifests as operator_manifests
from windlass_operator.api import DATASET, INFERENCE_SERVICE, NETWORK_POLICY, TRAINING_JOB, Kind
from windlass_operator.dataset import manifests as dataset_manifests
from windlass_operator.inference import manifests as inference_manifests
from windlass_operator.plan import Parent
from windlass_operator.settings import Settings
from windlass_operator.training import manifests as training_manifests

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

SECRETS = {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "token"}
S3 = {"store": {"mode": "s3", "s3": {"bucket": "data", "existingSecret": "keys", "endpoint": "https://s3.example"}}}
VOLUME = {"store": {"mode": "volume"}}
every_store = pytest.mark.parametrize("values", [{}, S3, VOLUME], ids=["embedded", "a bucket", "a volume"])

REFERENCE = VersionReference(name="x", version=1, uri="store://x/1", digest="sha256:0")
DATASET_SPEC = DatasetSpec.model_validate({"source": {"uri": "store://raw/x.csv"}})
JOB_SPEC = TrainingJobSpec.model_validate({"dataset": {"name": "x"}, "model": {"name": "x", "recipe": "mlp"}, "workers": 2})
SERVICE_SPEC = InferenceServiceSpec.model_validate({"model": {"name": "x", "alias": "production"}})


def settings(manifests: list[Manifest]) -> Settings:
    """What the operator makes of the environment that the chart gives it in a cluster."""
    told = environment(pod_templates(manifests)["windlass-operator"])
    resolved = {name: value if isinstance(value, str) else from_cluster(value) for name, value in told.items()}
    return Settings.from_environment(resolved)


def from_cluster(source: Manifest) -> str:
    return SECRETS[source["secretKeyRef"]["key"]] if "secretKeyRef" in source else "windlass-system"


def parent(kind: Kind) -> Parent:
    return Parent.read(kind, {"metadata": {"namespace": "team", "name": "x", "uid": "u"}, "spec": {}})


def run_pods(read: Settings) -> dict[str, Manifest]:
    """The pods that the operator makes, by what they do."""
    prepare = dataset_manifests.job(parent(DATASET), DATASET_SPEC, 1, read)
    train = training_manifests.job(parent(TRAINING_JOB), JOB_SPEC, REFERENCE, 1, None, read)
    infer = inference_manifests.template(parent(INFERENCE_SERVICE), SERVICE_SPEC, REFERENCE, ["onnx"], read)
    return {"preprocess": prepare["spec"]["template"], "train": train["spec"]["template"], "infer": infer}


@every_store
def test_the_operator_reads_what_the_chart_says(values: dict[str, Any], render: Render) -> None:
    read = settings(render({**values, "imagePullSecrets": ["a", "b"], "imagePullPolicy": "Always"}))
    assert read.store.mode == values.get("store", {}).get("mode", "embedded")
    assert read.images.pull_secrets == ("a", "b")
    assert read.images.pull_policy == "Always"
    assert read.own_namespace == "windlass-system"
    assert read.namespaces == (("windlass-system",) if values == VOLUME else ())


def test_the_operator_keeps_to_the_listed_namespaces(render: Render) -> None:
    assert settings(render({"namespaces": ["a", "b"]})).namespaces == ("a", "b")


@every_store
def test_pods_of_objects_get_the_same_store_as_the_charts_own(values: dict[str, Any], render: Render) -> None:
    manifests = render(values)
    secret = operator_manifests.store_secret("team", settings(manifests).store)["data"]
    told = environment(pod_templates(manifests)["windlass-preprocess"])
    expected = {name: value for name, value in told.items() if name.startswith("AWS_") or name == "WINDLASS_STORE_URL"}
    decoded = {name: base64.b64decode(value).decode() for name, value in secret.items()}
    assert decoded == {name: value if isinstance(value, str) else from_cluster(value) for name, value in expected.items()}


@every_store
def test_the_operator_may_write_the_secret_that_it_writes(values: dict[str, Any], render: Render) -> None:
    manifests = render(values)
    written = operator_manifests.store_secret("team", settings(manifests).store)["metadata"]["name"]
    (role,) = (it for it in of_kind(manifests, "ClusterRole", "Role") if it["metadata"]["name"] == "windlass-operator")
    (rule,) = (rule for rule in role["rules"] if rule["resources"] == ["secrets"])
    assert rule["resourceNames"] == [written]
    # The chart's own Secret is another one, so that the operator can write over no credentials of the release.
    assert written not in {it["metadata"]["name"] for it in of_kind(manifests, "Secret")}


@every_store
@pytest.mark.parametrize("component", ["preprocess", "train", "infer"])
def test_pods_of_objects_pass_the_restricted_standard(component: str, values: dict[str, Any], render: Render) -> None:
    template = run_pods(settings(render(values)))[component]
    assert violations(template["spec"]) == []
    assert template["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("component", ["preprocess", "train", "infer"])
def test_the_store_lets_pods_of_objects_in(component: str, render: Render) -> None:
    manifests = render()
    (rule,) = one(manifests, "NetworkPolicy", "windlass-store")["spec"]["ingress"]
    labels = run_pods(settings(manifests))[component]["metadata"]["labels"]
    assert selected(rule["from"][0]["podSelector"], labels)


def test_pods_that_serve_are_let_out_to_the_store(render: Render) -> None:
    manifests = render()
    companions = inference_manifests.companions(parent(INFERENCE_SERVICE), SERVICE_SPEC, settings(manifests))
    rule = companions[NETWORK_POLICY]["spec"]["egress"][-1]
    store = pod_templates(manifests)["windlass-store"]
    assert selected(rule["to"][0]["podSelector"], store["metadata"]["labels"])
    assert rule["ports"] == [{"protocol": "TCP", "port": store["spec"]["containers"][0]["ports"][0]["containerPort"]}]


def test_pods_of_objects_mount_the_volume_that_the_chart_made(render: Render) -> None:
    manifests = render(VOLUME)
    (claim,) = of_kind(manifests, "PersistentVolumeClaim")
    (own,) = mounts_of_store(pod_templates(manifests)["windlass-train"])
    for template in run_pods(settings(manifests)).values():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert volumes["store"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mounts_of_store(template) == [own]


def mounts_of_store(template: Manifest) -> list[str]:
    """Paths at which a pod's container mounts the store's volume."""
    return [mount["mountPath"] for mount in template["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "store"]
