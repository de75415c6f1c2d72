"""The programs of the node: kubelet and kube-proxy.

Knows: their configuration files. Pure, but for the functions that say whether a program is ready.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import containerd
import processes
from control_programs import CLIENT_BURST, CLIENT_QPS, LOOPBACK, flags
from layout import CGROUP, CLUSTER_DOMAIN, DNS_SERVICE_IP, NODE_IP, NODE_NAME, POD_RANGE, PORTS, Layout
from processes import Daemon

MAX_PODS = 250


def kubelet_configuration(layout: Layout) -> str:
    """The kubelet's configuration file: everything below our own folders, nothing removed for want of disk."""
    pki = layout.pki
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_IP,
            "port": PORTS.kubelet,
            "healthzBindAddress": LOOPBACK,
            "healthzPort": PORTS.kubelet_health,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet-server.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
            "containerRuntimeEndpoint": f"unix://{containerd.socket(layout)}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [DNS_SERVICE_IP],
            "clusterDomain": CLUSTER_DOMAIN,
            "resolvConf": str(layout.configuration("resolv.conf")),
            "podLogsDir": str(layout.state / "pod-logs"),
            "volumePluginDir": str(layout.state / "volume-plugins"),
            "maxPods": MAX_PODS,
            "serializeImagePulls": False,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "kubeAPIQPS": CLIENT_QPS,
            "kubeAPIBurst": CLIENT_BURST,
            # The disk is the user's and often nearly full; a threshold by share of it would evict pods or images.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
                "imagefs.inodesFree": "1%",
            },
            # These chains serve kube-proxy's iptables mode, which is not used here.
            "makeIPTablesUtilChains": False,
        },
        indent=2,
    )


def kubelet(layout: Layout, programs: Path) -> Daemon:
    """The kubelet of the only node."""
    arguments = flags(
        config=layout.configuration("kubelet.json"),
        kubeconfig=layout.configuration("kubelet.kubeconfig"),
        root_dir=layout.state / "kubelet",
        cert_dir=layout.pki,
        hostname_override=NODE_NAME,
        node_ip=NODE_IP,
    )
    return Daemon(
        "kubelet",
        (str(programs / "kubelet"), *arguments),
        ready=functools.partial(processes.answers, LOOPBACK, PORTS.kubelet_health, "/healthz"),
        listens=((NODE_IP, PORTS.kubelet), (LOOPBACK, PORTS.kubelet_health)),
    )


def proxy_configuration(layout: Layout) -> str:
    """kube-proxy's configuration file: nftables, and the machine's connection tracking left as it is."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": POD_RANGE,
            "hostnameOverride": NODE_NAME,
            "bindAddress": NODE_IP,
            "healthzBindAddress": f"{LOOPBACK}:{PORTS.proxy_health}",
            "metricsBindAddress": f"{LOOPBACK}:{PORTS.proxy_metrics}",
            "clientConnection": {"kubeconfig": str(layout.configuration("kube-proxy.kubeconfig"))},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"},
        },
        indent=2,
    )


def proxy(layout: Layout, programs: Path) -> Daemon:
    """kube-proxy."""
    return Daemon(
        "kube-proxy",
        (str(programs / "kube-proxy"), *flags(config=layout.configuration("kube-proxy.json"))),
        ready=functools.partial(processes.answers, LOOPBACK, PORTS.proxy_health, "/healthz"),
        listens=((LOOPBACK, PORTS.proxy_health), (LOOPBACK, PORTS.proxy_metrics)),
    )
