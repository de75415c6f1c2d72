"""The children as the cluster gets them: what every pod holds, and what each kind asks of Kubernetes."""

import base64
from dataclasses import replace
from typing import Any

import builders as b
import pytest
from pod_security import violations

from windlass_core.contracts import RUN_SPEC, InferServe, PreprocessRun, TrainRun, VersionReference
from windlass_core.resources import DatasetSpec, InferenceServiceSpec, TrainingJobSpec
from windlass_operator import manifests
from windlass_operator.api import (
    AUTOSCALER,
    DATASET,
    DISRUPTION_BUDGET,
    INFERENCE_SERVICE,
    NETWORK_POLICY,
    SERVICE,
    TRAINING_JOB,
    Manifest,
)
from windlass_operator.dataset import manifests as dataset
from windlass_operator.inference import manifests as inference
from windlass_operator.settings import Settings
from windlass_operator.training import manifests as training

REFERENCE = VersionReference(name="digits", version=3, uri="store://datasets/digits/3", digest="sha256:x")


def dataset_job(settings: Settings = b.SETTINGS, **spec: Any) -> Manifest:
    parent = b.parent(DATASET, b.dataset(**spec))
    return dataset.job(parent, DatasetSpec.model_validate(parent.spec), 1, settings)


def training_job(settings: Settings = b.SETTINGS, **spec: Any) -> Manifest:
    parent = b.parent(TRAINING_JOB, b.training_job(**spec))
    return training.job(parent, TrainingJobSpec.model_validate(parent.spec), REFERENCE, 2, None, settings)


def deployment(settings: Settings = b.SETTINGS, **spec: Any) -> Manifest:
    parent = b.parent(INFERENCE_SERVICE, b.inference_service(**spec))
    pod = inference.template(parent, InferenceServiceSpec.model_validate(parent.spec), REFERENCE, ["onnx"], settings)
    return inference.deployment(parent, pod)


def companion(kind: Any, settings: Settings = b.SETTINGS, **spec: Any) -> Manifest:
    parent = b.parent(INFERENCE_SERVICE, b.inference_service(**spec))
    made = inference.companions(parent, InferenceServiceSpec.model_validate(parent.spec), settings)
    found: Manifest = made[kind]["spec"]
    return found


def box(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(manifest: Manifest) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in box(manifest)["env"]}


VOLUME = replace(b.SETTINGS, store=replace(b.STORE, mode="volume", url="file:///var/lib/windlass/store", credentials={}))
EVERY = [
    pytest.param(dataset_job, "preprocess", ["run"], "windlass.dev/dataset", id="the pod of a Dataset"),
    pytest.param(training_job, "trainer", ["run"], "windlass.dev/trainingjob", id="a worker of a run"),
    pytest.param(
        deployment, "server", ["serve", "--grpc-port", "9000"], "windlass.dev/inferenceservice", id="the pod of a service"
    ),
]


@pytest.mark.parametrize(("make", "container", "arguments", "label"), EVERY)
def test_a_pod_is_restricted_labelled_and_told_what_to_do_by(
    make: Any, container: str, arguments: list[str], label: str
) -> None:
    manifest = make()
    template = manifest["spec"]["template"]
    assert violations(template["spec"]) == []
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["spec"]["shareProcessNamespace"] is True, "process 1 would ignore an early SIGTERM"
    assert template["spec"]["terminationGracePeriodSeconds"] > 0
    assert (box(manifest)["name"], box(manifest)["args"]) == (container, arguments)
    assert box(manifest)["securityContext"]["readOnlyRootFilesystem"] is True
    assert template["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "windlass"
    assert label in template["metadata"]["labels"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "8080"
    assert box(manifest)["envFrom"] == [{"secretRef": {"name": "windlass-store"}}]
    assert "hush-hush" not in repr(manifest), "credentials stand in the Secret only"


@pytest.mark.parametrize("make", [pytest.param(*case.values[:1], id=case.id) for case in EVERY])
def test_in_mode_volume_the_store_is_mounted_by(make: Any) -> None:
    manifest = make(VOLUME)
    assert {"name": "store", "mountPath": "/var/lib/windlass/store"} in box(manifest)["volumeMounts"]
    volumes = manifest["spec"]["template"]["spec"]["volumes"]
    assert {"name": "store", "persistentVolumeClaim": {"claimName": "windlass-store"}} in volumes
    assert violations(manifest["spec"]["template"]["spec"]) == []


@pytest.mark.parametrize(
    ("make", "contract"),
    [
        pytest.param(dataset_job, PreprocessRun, id="a preparation"),
        pytest.param(training_job, TrainRun, id="a run"),
        pytest.param(deployment, InferServe, id="a server"),
    ],
)
def test_the_pod_can_read_what_it_is_told_of(make: Any, contract: type) -> None:
    told = RUN_SPEC.validate_json(environment(make())["WINDLASS_RUN_SPEC"])
    assert isinstance(told, contract)
    assert told.namespace == b.NAMESPACE


@pytest.mark.parametrize(
    ("asked", "requests", "limits"),
    [
        pytest.param({}, {"cpu": "250m", "memory": "1Gi"}, None, id="nothing: small requests and no limits"),
        pytest.param({"cpu": "2"}, {"cpu": "2", "memory": "1Gi"}, None, id="CPU: asked for and not limited"),
        pytest.param({"memory": "1Gi"}, {"cpu": "250m", "memory": "1Gi"}, {"memory": "1Gi"}, id="memory: also the limit"),
        pytest.param(
            {"gpu": {"count": 2}}, {"cpu": "250m", "memory": "1Gi"}, {"nvidia.com/gpu": "2"}, id="GPUs: whole devices"
        ),
    ],
)
def test_resources_of_a_worker_that_asks_for(asked: Manifest, requests: Manifest, limits: Manifest | None) -> None:
    expected = {"requests": requests, **({"limits": limits} if limits else {})}
    assert box(training_job(resources=asked))["resources"] == expected


@pytest.mark.parametrize(("cpu", "threads"), [(None, "1"), ("500m", "1"), ("1500m", "1"), ("2", "2"), ("3.9", "3")])
def test_threads_are_the_whole_cores_asked_for(cpu: str | None, threads: str) -> None:
    assert environment(training_job(resources={"cpu": cpu} if cpu else {}))["OMP_NUM_THREADS"] == threads


def test_the_job_of_a_run_is_a_gang_that_survives_what_may_be_survived() -> None:
    spec = training_job(workers=4, restarts={"max": 5})["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (5, 0)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}
    assert "activeDeadlineSeconds" not in spec
    rules = spec["podFailurePolicy"]["rules"]
    assert [(rule["action"], rule.get("onExitCodes", {}).get("values")) for rule in rules] == [
        ("Ignore", None), ("Ignore", [44]), ("FailJob", [40, 41, 42]), ("FailIndex", [43]),
    ]  # fmt: skip
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_workers_of_one_try_find_one_another_by_dns_and_never_those_of_another() -> None:
    manifest = training_job()
    parent = b.parent(TRAINING_JOB, b.training_job())
    service = training.service(parent)
    assert manifest["metadata"]["name"] == "train-run-a2"
    assert manifest["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"] == "train-run"
    assert b.run_spec(manifest)["rendezvousHost"] == "train-run-a2-0.train-run.team.svc"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert labels["windlass.dev/attempt"] == "2"
    assert environment(manifest)["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert environment(manifest)["POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}


@pytest.mark.parametrize("make", [pytest.param(dataset_job, id="a Dataset"), pytest.param(training_job, id="a run")])
def test_names_of_pods_stay_dns_labels_for_the_longest_name_of(make: Any) -> None:
    metadata = {"name": "x" * 40}
    name = make(metadata=metadata)["metadata"]["name"]
    assert len(f"{name}-1023") <= 63


def test_a_rollout_never_takes_a_pod_away_before_another_answers() -> None:
    spec = deployment()["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}}
    server = spec["template"]["spec"]["containers"][0]
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert server["livenessProbe"]["httpGet"]["path"] == server["startupProbe"]["httpGet"]["path"] == "/healthz"
    leaves = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < leaves < spec["template"]["spec"]["terminationGracePeriodSeconds"]


def test_the_selector_stays_when_the_version_and_the_spec_change() -> None:
    one, other = deployment(), deployment(resources={"cpu": "2"}, scale={"target": 50})
    assert one["spec"]["selector"] == other["spec"]["selector"]
    revisions = {manifest["spec"]["template"]["metadata"]["labels"]["windlass.dev/revision"] for manifest in (one, other)}
    assert len(revisions) == 2


def test_scaling_does_not_change_the_pods() -> None:
    one, other = deployment(), deployment(replicas={"min": 2, "max": 9}, scale={"target": 50, "downAfterSeconds": 10})
    assert one["spec"]["template"] == other["spec"]["template"]


def test_the_autoscaler_follows_the_spec() -> None:
    spec = companion(AUTOSCALER, replicas={"min": 2, "max": 9}, scale={"target": 55, "downAfterSeconds": 10})
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 55}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 10
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "digits"}


def test_a_single_pod_can_still_be_drained() -> None:
    assert companion(DISRUPTION_BUDGET)["maxUnavailable"] == 1


def test_the_service_answers_http_on_port_80_and_grpc_on_port_9000() -> None:
    assert [(port["port"], port["targetPort"]) for port in companion(SERVICE)["ports"]] == [(80, "http"), (9000, "grpc")]


@pytest.mark.parametrize(
    ("settings", "store"),
    [
        pytest.param(
            b.SETTINGS,
            [
                {
                    "ports": [{"protocol": "TCP", "port": 7070}],
                    "to": [
                        {
                            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "windlass-system"}},
                            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "windlass-store"}},
                        }
                    ],
                }
            ],
            id="to the store of the release",
        ),
        pytest.param(
            replace(b.SETTINGS, store=replace(b.STORE, mode="s3", credentials={"AWS_ENDPOINT_URL": "https://s3.example"})),
            [{"ports": [{"protocol": "TCP", "port": 443}]}],
            id="to any address at the port of a bucket elsewhere",
        ),
        pytest.param(VOLUME, [], id="nowhere, when the store is a volume"),
    ],
)
def test_a_server_may_ask_for_names_and_go(settings: Settings, store: list[Manifest]) -> None:
    policy = companion(NETWORK_POLICY, settings)
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}, {"protocol": "TCP", "port": 9000}]}]
    assert policy["egress"][0] == {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
    assert policy["egress"][1:] == store


def test_the_secret_holds_the_url_and_the_credentials_and_names_no_owner() -> None:
    secret = manifests.store_secret("team", b.STORE)
    values = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert values == {"WINDLASS_STORE_URL": "s3://windlass", **b.STORE.credentials}
    assert "ownerReferences" not in secret["metadata"]


def test_pull_secrets_and_policy_reach_the_pods() -> None:
    images = replace(b.IMAGES, pull_policy="Always", pull_secrets=("registry",))
    manifest = deployment(replace(b.SETTINGS, images=images))
    assert manifest["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert box(manifest)["imagePullPolicy"] == "Always"
