"""The programs of the control plane: etcd, API server, controller manager, scheduler.

Knows: their flags and configuration files. Pure, but for the functions that say whether a program is ready.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import processes
from layout import CLUSTER_DOMAIN, CLUSTER_NAME, NODE_IP, PORTS, SERVICE_RANGE, Layout
from processes import Daemon

LOOPBACK = "127.0.0.1"
ETCD_URL = f"https://{LOOPBACK}:{PORTS.etcd_client}"

# Tests make hundreds of objects in a burst; with the defaults (20 or 50 a second) the client's own limiter is what a
# test would wait for.
CLIENT_QPS, CLIENT_BURST = 300, 600
AUTOSCALER_PERIOD = "5s"  # upstream: 15 s; a test of scaling should not take minutes


def flags(**values: str | int | Path) -> tuple[str, ...]:
    """Command-line flags from keyword arguments: `bind_address="x"` becomes `--bind-address=x`."""
    return tuple(f"--{name.replace('_', '-')}={value}" for name, value in values.items())


def serving(layout: Layout, name: str, host: str, port: int) -> tuple[str, ...]:
    """The flags by which a program serves its own API over TLS, and asks the API server who may use it."""
    kubeconfig = layout.configuration(f"{name}.kubeconfig")
    return flags(
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address=host,
        secure_port=port,
        tls_cert_file=layout.pki / f"{name}-server.crt",
        tls_private_key_file=layout.pki / f"{name}-server.key",
    )


def etcd(layout: Layout, programs: Path) -> Daemon:
    """The store of the API server. It does not wait for the disk: the cluster is one to throw away."""
    pki = layout.pki
    peer = f"http://{LOOPBACK}:{PORTS.etcd_peer}"
    arguments = flags(
        name=CLUSTER_NAME,
        data_dir=layout.state / "etcd",
        listen_client_urls=ETCD_URL,
        advertise_client_urls=ETCD_URL,
        listen_peer_urls=peer,
        initial_advertise_peer_urls=peer,
        initial_cluster=f"{CLUSTER_NAME}={peer}",
        listen_metrics_urls=f"http://{LOOPBACK}:{PORTS.etcd_health}",
        cert_file=pki / "etcd.crt",
        key_file=pki / "etcd.key",
        trusted_ca_file=pki / "ca.crt",
        log_level="warn",
    )
    return Daemon(
        "etcd",
        (str(programs / "etcd"), *arguments, "--client-cert-auth", "--unsafe-no-fsync"),
        ready=lambda: processes.answers(LOOPBACK, PORTS.etcd_health, "/health"),
        listens=((LOOPBACK, PORTS.etcd_client), (LOOPBACK, PORTS.etcd_peer), (LOOPBACK, PORTS.etcd_health)),
    )


def api_server(layout: Layout, programs: Path) -> Daemon:
    """The API server, with the aggregation layer and the admission plug-ins that are on by default."""
    pki = layout.pki
    arguments = flags(
        bind_address=NODE_IP,
        advertise_address=NODE_IP,
        secure_port=PORTS.api_server,
        service_cluster_ip_range=SERVICE_RANGE,
        etcd_servers=ETCD_URL,
        etcd_cafile=pki / "ca.crt",
        etcd_certfile=pki / "etcd-client.crt",
        etcd_keyfile=pki / "etcd-client.key",
        client_ca_file=pki / "ca.crt",
        tls_cert_file=pki / "kube-apiserver.crt",
        tls_private_key_file=pki / "kube-apiserver.key",
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        kubelet_certificate_authority=pki / "ca.crt",
        kubelet_client_certificate=pki / "kubelet-client.crt",
        kubelet_client_key=pki / "kubelet-client.key",
        kubelet_preferred_address_types="InternalIP",
        service_account_issuer=f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        service_account_key_file=pki / "service-account.pub",
        service_account_signing_key_file=pki / "service-account.key",
        requestheader_client_ca_file=pki / "front-proxy-ca.crt",
        requestheader_allowed_names="front-proxy-client",
        requestheader_username_headers="X-Remote-User",
        requestheader_group_headers="X-Remote-Group",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        proxy_client_cert_file=pki / "front-proxy-client.crt",
        proxy_client_key_file=pki / "front-proxy-client.key",
        enable_aggregator_routing="true",
        profiling="false",
    )
    return Daemon(
        "kube-apiserver",
        (str(programs / "kube-apiserver"), *arguments),
        ready=functools.partial(processes.answers, NODE_IP, PORTS.api_server, "/readyz", pki / "ca.crt"),
        listens=((NODE_IP, PORTS.api_server),),
    )


def controller_manager(layout: Layout, programs: Path) -> Daemon:
    """All built-in controllers, with an autoscaler that looks more often than by default."""
    pki = layout.pki
    name = "kube-controller-manager"
    arguments = flags(
        kubeconfig=layout.configuration(f"{name}.kubeconfig"),
        root_ca_file=pki / "ca.crt",
        service_account_private_key_file=pki / "service-account.key",
        cluster_signing_cert_file=pki / "ca.crt",
        cluster_signing_key_file=pki / "ca.key",
        use_service_account_credentials="true",
        leader_elect="false",  # there is one, and an election costs seconds
        kube_api_qps=CLIENT_QPS,
        kube_api_burst=CLIENT_BURST,
        horizontal_pod_autoscaler_sync_period=AUTOSCALER_PERIOD,
        flex_volume_plugin_dir=layout.state / "volume-plugins",
    )
    return Daemon(
        name,
        (str(programs / name), *serving(layout, name, LOOPBACK, PORTS.controller_manager), *arguments),
        ready=functools.partial(processes.answers, LOOPBACK, PORTS.controller_manager, "/healthz", pki / "ca.crt"),
        listens=((LOOPBACK, PORTS.controller_manager),),
    )


def scheduler_configuration(layout: Layout) -> str:
    """The scheduler's configuration file, which alone can raise its client's limits."""
    connection = {
        "kubeconfig": str(layout.configuration("kube-scheduler.kubeconfig")), "qps": CLIENT_QPS, "burst": CLIENT_BURST,
    }  # fmt: skip
    return json.dumps(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": connection,
            "leaderElection": {"leaderElect": False},
        },
        indent=2,
    )


def scheduler(layout: Layout, programs: Path) -> Daemon:
    """The default scheduler."""
    name = "kube-scheduler"
    configuration = flags(config=layout.configuration(f"{name}.json"))
    return Daemon(
        name,
        (str(programs / name), *serving(layout, name, LOOPBACK, PORTS.scheduler), *configuration),
        ready=functools.partial(processes.answers, LOOPBACK, PORTS.scheduler, "/healthz", layout.pki / "ca.crt"),
        listens=((LOOPBACK, PORTS.scheduler),),
    )
