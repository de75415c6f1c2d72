"""The Deployment by which an InferenceService answers, and the objects that expose, scale and guard it. Pure."""

from collections.abc import Collection
from urllib.parse import urlsplit

from windlass_core.contracts import RUN_PORT, InferServe, VersionReference
from windlass_core.pod import GRPC_PORT
from windlass_core.resources import API_GROUP, InferenceServiceSpec
from windlass_core.resources.common import duration_seconds
from windlass_operator import manifests, pod_template
from windlass_operator.api import AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, NETWORK_POLICY, SERVICE, Kind, Manifest
from windlass_operator.compare import digest, quantity, stamped
from windlass_operator.inference import image
from windlass_operator.plan import Parent
from windlass_operator.pod_template import Program
from windlass_operator.settings import Settings, StoreSettings

PROGRAM = Program(
    component="infer",
    container="server",
    argument="serve",
    cpu="250m",
    memory="256Mi",
    # Requests in flight get what LEAVE_SECONDS leaves of this; longer ones fail loudly.
    grace_seconds=60,
)
REVISION_LABEL = f"{API_GROUP}/revision"
VERSION_LABEL = f"{API_GROUP}/model-version"
SERVICE_PORT = 80

# A pod that is told to leave is still sent requests until every node has heard of it, which takes about a second. Only then its
# program asks clients to leave, so that they do not come back to it, and takes connections for three seconds more. It is short,
# because clients that keep a connection hear the old version for as long.
LEAVE_SECONDS = 2
# A program that does not listen within this many seconds never will; models load after it listens.
STARTUP_SECONDS = 120
# For a version that neither becomes ready nor fails; it only marks the Deployment, old pods serve on.
PROGRESS_DEADLINE_SECONDS = 600
OLD_REVISIONS = 2


def selector(parent: Parent) -> dict[str, str]:
    """Labels that select the pods; they never change while the object lives."""
    return {manifests.parent_label(parent): parent.name, manifests.UID_LABEL: parent.uid}


def template(
    parent: Parent, spec: InferenceServiceSpec, model: VersionReference, formats: Collection[str], settings: Settings
) -> Manifest:
    """The pod that serves one version with these formats, labelled with the digest of all that makes it what it is."""
    container = {
        "args": [PROGRAM.argument, "--grpc-port", str(GRPC_PORT)],
        "ports": [
            {"name": "http", "containerPort": RUN_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        # Ready means that the loaded model answered a real inference.
        "readinessProbe": _probe("/readyz", period=1, failures=6),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "startupProbe": _probe("/healthz", period=1, failures=STARTUP_SECONDS),
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
    }
    made = pod_template.pod_template(
        parent,
        image.program(PROGRAM, spec, formats),
        image.choose(spec, formats, settings.images),
        _run(parent, spec, model),
        spec.resources,
        settings,
        # One thread a process, and a process a core: threads of several processes on the same cores only wait for one another.
        environment=[{"name": "OMP_NUM_THREADS", "value": "1"}, *(variable.to_json() for variable in spec.env)],
        container=container,
        spec={"tolerations": pod_template.dead_node_tolerations()},
    )
    labels = {**made["metadata"]["labels"], REVISION_LABEL: digest(made), VERSION_LABEL: str(model.version)}
    return {**made, "metadata": {**made["metadata"], "labels": labels}}


def _run(parent: Parent, spec: InferenceServiceSpec, model: VersionReference) -> InferServe:
    """What the pods are told."""
    return InferServe(
        namespace=parent.namespace,
        name=parent.name,
        model=model,
        engine=spec.engine,
        loss=spec.allowed_loss,
        slo_p99_seconds=duration_seconds(spec.slo.p99) if spec.slo else None,
        max_batch_rows=spec.batch.max if spec.batch else None,
        cache_bytes=int(quantity(spec.cache or "") or 0),
        processes=pod_template.whole_cores(spec.resources.cpu),
    )


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    """A probe that gives a busy pod time: on a full machine an answer takes seconds."""
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def deployment(parent: Parent, pod: Manifest) -> Manifest:
    """Pods that are replaced all at once, each old one only when a new one answers. How many is the autoscaler's business.

    One by one an alias would take as many times a pod's start as there are pods. Where there is room for one more pod only, the
    others wait, and each old pod that leaves makes room for the next.
    """
    spec = {
        "selector": {"matchLabels": selector(parent)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}},
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": OLD_REVISIONS,
        "template": pod,
    }
    return _child(parent, DEPLOYMENT, spec)


def companions(parent: Parent, spec: InferenceServiceSpec, settings: Settings) -> dict[Kind, Manifest]:
    """The objects beside the Deployment; none of them depends on the version that is served."""
    return {
        SERVICE: _service(parent),
        AUTOSCALER: _autoscaler(parent, spec),
        DISRUPTION_BUDGET: _disruption_budget(parent),
        NETWORK_POLICY: _network_policy(parent, settings),
    }


def _service(parent: Parent) -> Manifest:
    ports = [
        {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
    ]
    return _child(parent, SERVICE, {"selector": selector(parent), "ports": ports})


def _autoscaler(parent: Parent, spec: InferenceServiceSpec) -> Manifest:
    utilization = {"type": "Utilization", "averageUtilization": spec.scale.target}
    return _child(
        parent,
        AUTOSCALER,
        {
            "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": parent.name},
            "minReplicas": spec.replicas.min,
            "maxReplicas": spec.replicas.max,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
            "behavior": {
                # Load is met at once: twice the pods, or four more, every 15 s.
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Percent", "value": 100, "periodSeconds": 15},
                        {"type": "Pods", "value": 4, "periodSeconds": 15},
                    ],
                },
                # Pods go when the load has been lower all the time; then half of them a minute, so that a mistake is small.
                "scaleDown": {
                    "stabilizationWindowSeconds": spec.scale.down_after_seconds,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Percent", "value": 50, "periodSeconds": 60},
                        {"type": "Pods", "value": 1, "periodSeconds": 15},
                    ],
                },
            },
        },
    )


def _disruption_budget(parent: Parent) -> Manifest:
    """One pod at a time may be drained. A minimum of one would let nobody ever drain the node of a single pod."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selector(parent)},
    }
    return _child(parent, DISRUPTION_BUDGET, spec)


def _network_policy(parent: Parent, settings: Settings) -> Manifest:
    """In: requests. Out: names and the store."""
    dns = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
    spec = {
        "podSelector": {"matchLabels": selector(parent)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in (RUN_PORT, GRPC_PORT)]}],
        "egress": [dns, *_store_egress(settings.store, settings.own_namespace)],
    }
    return _child(parent, NETWORK_POLICY, spec)


def _store_egress(store: StoreSettings, own_namespace: str) -> list[Manifest]:
    if store.mode == "volume":
        return []
    endpoint = urlsplit(store.credentials.get("AWS_ENDPOINT_URL", ""))
    port = endpoint.port or {"http": 80, "https": 443}.get(endpoint.scheme, 443)
    rule: Manifest = {"ports": [{"protocol": "TCP", "port": port}]}
    if store.mode == "embedded" and own_namespace:
        rule["to"] = [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": own_namespace}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": manifests.STORE_NAME}},
            }
        ]
    return [rule]


def _child(parent: Parent, kind: Kind, spec: Manifest) -> Manifest:
    """All children have the name of their object: it is the name that clients and operators look for."""
    return stamped(manifests.child(parent, kind, parent.name, PROGRAM.component, spec))
