"""The cluster's authorities, certificates and kubeconfigs, made anew by openssl at each start.

Knows: who needs which certificate. Must not know: how the programs are started.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from layout import CLUSTER_DOMAIN, CLUSTER_NAME, KUBERNETES_SERVICE_IP, NODE_IP, NODE_NAME, PORTS, Layout
from shell import run

OPENSSL_TIMEOUT_SECONDS = 20.0
VALID_DAYS = "3650"
API_SERVER_URL = f"https://{NODE_IP}:{PORTS.api_server}"


@dataclass(frozen=True)
class Certificate:
    """One key pair: who it speaks for, in which groups, and under which names it may be served."""

    file: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()
    authority: str = "ca"


LOCAL = ("IP:127.0.0.1", f"IP:{NODE_IP}", "DNS:localhost")
SERVERS = (
    Certificate(
        "kube-apiserver",
        "kube-apiserver",
        names=(
            *LOCAL, f"IP:{KUBERNETES_SERVICE_IP}", "DNS:kubernetes", "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc", f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}",
        ),
    ),
    Certificate("etcd", "etcd", names=LOCAL),
    Certificate("kubelet-server", f"system:node:{NODE_NAME}", names=(*LOCAL, f"DNS:{NODE_NAME}")),
    Certificate("kube-controller-manager-server", "kube-controller-manager", names=LOCAL),
    Certificate("kube-scheduler-server", "kube-scheduler", names=LOCAL),
    Certificate("metrics-server-server", "metrics-server", names=(*LOCAL, "DNS:metrics-server.kube-system.svc")),
)  # fmt: skip
CLIENTS = (
    Certificate("admin", "windlass-admin", "system:masters"),
    Certificate("kubelet", f"system:node:{NODE_NAME}", "system:nodes"),
    Certificate("kube-controller-manager", "system:kube-controller-manager"),
    Certificate("kube-scheduler", "system:kube-scheduler"),
    Certificate("kube-proxy", "system:kube-proxy"),
    Certificate("coredns", "windlass:coredns"),
    Certificate("metrics-server", "windlass:metrics-server"),
    Certificate("provisioner", "windlass:provisioner"),
    Certificate("etcd-client", "kube-apiserver"),
    Certificate("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
    Certificate("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
)
WITH_KUBECONFIG = (
    "kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "metrics-server", "provisioner",
)  # fmt: skip


def make_all(layout: Layout) -> None:
    """Make every authority, key, certificate and kubeconfig. Raises ClusterError when openssl fails."""
    layout.pki.mkdir(parents=True, exist_ok=True)
    layout.pki.chmod(0o700)
    for authority in ("ca", "front-proxy-ca"):
        _openssl(authority_arguments(layout.pki, authority))
    for certificate in (*SERVERS, *CLIENTS):
        _openssl(certificate_arguments(layout.pki, certificate))
    private, public = str(layout.pki / "service-account.key"), str(layout.pki / "service-account.pub")
    _openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private])
    _openssl(["pkey", "-in", private, "-pubout", "-out", public])
    for name in WITH_KUBECONFIG:
        write_private(layout.configuration(f"{name}.kubeconfig"), kubeconfig(layout.pki, name))
    write_private(layout.kubeconfig, kubeconfig(layout.pki, "admin"))


def _openssl(arguments: list[str]) -> None:
    run(["openssl", *arguments], timeout_seconds=OPENSSL_TIMEOUT_SECONDS)


def _new_key(pki: Path, name: str) -> list[str]:
    return [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", VALID_DAYS,
        "-keyout", str(pki / f"{name}.key"), "-out", str(pki / f"{name}.crt"),
    ]  # fmt: skip


def authority_arguments(pki: Path, name: str) -> list[str]:
    """The openssl arguments for one self-signed authority."""
    return [*_new_key(pki, name), "-subj", f"/CN={CLUSTER_NAME}-{name}"]


def certificate_arguments(pki: Path, certificate: Certificate) -> list[str]:
    """The openssl arguments for one certificate, signed by its authority."""
    group = f"/O={certificate.group}" if certificate.group else ""
    usage = "serverAuth,clientAuth" if certificate.names else "clientAuth"
    names = ["-addext", f"subjectAltName={','.join(certificate.names)}"] if certificate.names else []
    return [
        *_new_key(pki, certificate.file),
        "-subj", f"{group}/CN={certificate.user}",
        "-CA", str(pki / f"{certificate.authority}.crt"), "-CAkey", str(pki / f"{certificate.authority}.key"),
        "-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={usage}", *names,
    ]  # fmt: skip


def kubeconfig(pki: Path, name: str) -> str:
    """A kubeconfig that holds its certificates, so that the file works wherever it is copied on this machine."""

    def content(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    cluster = {"server": API_SERVER_URL, "certificate-authority-data": content("ca.crt")}
    user = {"client-certificate-data": content(f"{name}.crt"), "client-key-data": content(f"{name}.key")}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER_NAME, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": CLUSTER_NAME, "context": {"cluster": CLUSTER_NAME, "user": name}}],
            "current-context": CLUSTER_NAME,
        },
        indent=2,
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)
