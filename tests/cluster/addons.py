"""What a user expects of a cluster beyond Kubernetes itself: names, metrics, volumes.

CoreDNS, metrics-server and the volume provisioner run on the host, beside the control plane, so that they need no image
and are there as soon as the API is; Services with an endpoint of their own make them reachable from pods.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import Any

import processes
from control_programs import LOOPBACK, flags, serving
from layout import CLUSTER_DOMAIN, DNS_SERVICE_IP, NODE_IP, NODE_NAME, PORTS, Layout
from processes import Daemon

PROVISIONER = "windlass.dev/local-folder"
SYSTEM = "kube-system"
COREDNS_USER, METRICS_USER, PROVISIONER_USER = "windlass:coredns", "windlass:metrics-server", "windlass:provisioner"
METRIC_RESOLUTION, SCRAPE_TIMEOUT = "10s", "5s"  # 10 s is the least that metrics-server takes

Manifest = dict[str, Any]


def corefile(layout: Layout) -> str:
    """CoreDNS answers for the cluster itself and asks the machine's own resolvers for the rest."""
    return f"""\
.:{PORTS.dns} {{
    bind {NODE_IP}
    errors
    ready {LOOPBACK}:{PORTS.dns_health}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {layout.configuration("coredns.kubeconfig")}
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 10 {{
        disable success {CLUSTER_DOMAIN}
        disable denial {CLUSTER_DOMAIN}
    }}
}}
"""


def coredns(layout: Layout, programs: Path) -> Daemon:
    """The names of Services and pods."""
    return Daemon(
        "coredns",
        (str(programs / "coredns"), "-conf", str(layout.configuration("Corefile"))),
        ready=functools.partial(processes.answers, LOOPBACK, PORTS.dns_health, "/ready"),
        listens=((NODE_IP, PORTS.dns), (LOOPBACK, PORTS.dns_health)),
    )


def metrics_server(layout: Layout, programs: Path) -> Daemon:
    """The pods' use of processor and memory, for `kubectl top` and the autoscaler."""
    name = "metrics-server"
    authority = layout.pki / "ca.crt"
    arguments = flags(
        kubeconfig=layout.configuration(f"{name}.kubeconfig"),
        kubelet_certificate_authority=authority,
        metric_resolution=METRIC_RESOLUTION,
        kubelet_request_timeout=SCRAPE_TIMEOUT,
    )
    return Daemon(
        name,
        (str(programs / name), *serving(layout, name, NODE_IP, PORTS.metrics_server), *arguments),
        ready=functools.partial(processes.answers, NODE_IP, PORTS.metrics_server, "/livez", authority),
        listens=((NODE_IP, PORTS.metrics_server),),
    )


def volumes(layout: Layout) -> Path:
    """Where the folders of volumes are; they go with the cluster."""
    return layout.state / "volumes"


def provisioner(layout: Layout, programs: Path) -> Daemon:
    """A folder for each volume claim."""
    # Here flags take one dash or two alike.
    arguments = flags(
        kubeconfig=layout.configuration("provisioner.kubeconfig"),
        provisioner=PROVISIONER,
        root=volumes(layout),
        node=NODE_NAME,
    )
    # It has no port to ask; that it lives once it has joined its group is all there is to know.
    return Daemon("provisioner", (str(programs / "provisioner"), *arguments), ready=lambda: True)


def manifests(layout: Layout) -> list[Manifest]:
    """The objects that the three need, and the default StorageClass."""
    return [
        *_access(),
        *_service("kube-dns", DNS_SERVICE_IP, [("dns", "UDP", 53, PORTS.dns), ("dns-tcp", "TCP", 53, PORTS.dns)]),
        *_service("metrics-server", None, [("https", "TCP", 443, PORTS.metrics_server)]),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": SYSTEM, "name": "metrics-server", "port": 443},
                "caBundle": base64.b64encode((layout.pki / "ca.crt").read_bytes()).decode(),
            },
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",  # with one node there is nothing to wait for
        },
    ]


def _service(name: str, address: str | None, ports: list[tuple[str, str, int, int]]) -> list[Manifest]:
    """A Service without selector, and the endpoint on the host that it leads to."""
    metadata = {"name": name, "namespace": SYSTEM}
    service: Manifest = {
        "ports": [
            {"name": title, "protocol": protocol, "port": port, "targetPort": target} for title, protocol, port, target in ports
        ]
    }
    if address is not None:
        service["clusterIP"] = address
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                **metadata,
                "labels": {
                    "kubernetes.io/service-name": name,
                    "endpointslice.kubernetes.io/managed-by": "windlass.dev",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
            "ports": [{"name": title, "protocol": protocol, "port": target} for title, protocol, _, target in ports],
        },
    ]


def _access() -> list[Manifest]:
    """What each of the three may do in the API, and that kube-proxy may do its work."""
    read = ["get", "list", "watch"]
    coredns_rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    metrics_rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": read},
    ]
    return [
        *_role_for("windlass:coredns", coredns_rules, COREDNS_USER),
        *_role_for("windlass:metrics-server", metrics_rules, METRICS_USER),
        _binding("windlass:metrics-server:auth-delegator", "system:auth-delegator", METRICS_USER),
        {
            **_binding("windlass:metrics-server:auth-reader", "extension-apiserver-authentication-reader", METRICS_USER),
            "kind": "RoleBinding",
            "metadata": {"name": "windlass:metrics-server:auth-reader", "namespace": SYSTEM},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "extension-apiserver-authentication-reader",
            },
        },
        _binding("windlass:provisioner", "system:persistent-volume-provisioner", PROVISIONER_USER),
    ]


def _role_for(name: str, rules: list[Manifest], user: str) -> list[Manifest]:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
    }  # fmt: skip
    return [role, _binding(name, name, user)]


def _binding(name: str, role: str, user: str) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
