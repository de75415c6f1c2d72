"""The bare cluster: Kubernetes as processes of this machine, without Docker.

Knows: the order in which things start and stop. Must not know: the flags and files of each program.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import addons
import binaries
import certificates
import cgroups
import checks
import containerd
import control_programs
import image_bare
import leftovers
import machine
import network
import node
import packages
import processes
import registry
from console import ClusterError, say, step
from layout import (
    CGROUP,
    CLUSTER_DOMAIN,
    DNS_SERVICE_IP,
    INTERFACE,
    NFT_TABLE,
    NODE_IP,
    NODE_NAME,
    REGISTRY,
    Layout,
)
from processes import Daemon
from shell import attempt, run, wait_until

NAME = "bare"
KUBECTL_TIMEOUT_SECONDS = 30.0
HEALTH_TIMEOUT_SECONDS = 5.0
READY_TIMEOUT_SECONDS = 120.0


def up(layout: Layout) -> None:
    """Have the cluster run; one that runs well is left alone.

    Raises ClusterError with what is missing, or which component failed and the end of its log.
    """
    if healthy(layout):
        registry.start_registry(layout)
        say(f"The cluster is up. Kubeconfig: {layout.kubeconfig}")
        return
    prepare(layout)
    finish(layout)


def finish(layout: Layout) -> None:
    """Build the programs and start the cluster on what `prepare` has made ready."""
    start(layout, binaries.build(binaries.KUBERNETES, layout))


def prepare(layout: Layout) -> None:
    """Check the machine, say what will change, install what is missing, have the registry and containerd serve.

    After this, images can be pushed and pulled while the programs are built. What an earlier cluster left, however it
    ended, is removed first: its objects are gone with it.
    """
    checks.check(layout)
    announce(layout)
    packages.install()
    if leftovers.running(layout):
        with step("Remove what an earlier cluster left"):
            leftovers.stop(layout, keep_registry=True)
    registry.start_registry(layout)
    with step("containerd"):
        machine.remember(layout)
        containerd.write_configuration(layout)
        runtime = containerd.daemon(layout)
        processes.start(runtime, layout)
        processes.wait_ready(runtime, layout)
        _clean_containerd(layout, runtime)


def announce(layout: Layout) -> None:
    """Say what `up` is about to install and change on this machine."""
    wanted = sorted(set(packages.missing().values()))
    built = [module.name for module in binaries.ALL if not module.folder(layout).is_dir()]
    say(
        f"""\
A Kubernetes cluster will run on this machine as processes of root (CLUSTER=bare). Until `down`:
  runs     etcd, the control plane, kubelet, containerd, a registry on {REGISTRY}; state in {layout.state}
  adds     the network interface {INTERFACE} ({NODE_IP}), nftables tables `{NFT_TABLE}` and \
`kube-proxy`, the control group /{CGROUP}
  sets     {", ".join(name.replace("/", ".") for name in machine.SYSCTLS)}; `down` puts them back
and to stay:
  installs {"Debian packages " + " ".join(wanted) if wanted else "no Debian package; all are there"}
  builds   {" and ".join(built) + " from source" if built else "nothing; all programs are there"}; \
caches in {layout.cache} and Go's own"""
    )


def start(layout: Layout, programs: Path) -> None:
    """Start every component that `prepare` has not, from built programs, and wait until pods can run."""
    with step("Network, certificates, configuration"):
        certificates.make_all(layout)
        network.create(layout)
        write_configuration(layout)
    with step("etcd, API server"):
        for daemon in (control_programs.etcd(layout, programs), control_programs.api_server(layout, programs)):
            processes.start(daemon, layout)
            processes.wait_ready(daemon, layout)
    with step("Control plane, kubelet, kube-proxy, CoreDNS, metrics-server, volumes"):
        run(
            [*_kubectl(layout, programs), "apply", "--server-side", "-f", "-"],
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": addons.manifests(layout)}),
            timeout_seconds=KUBECTL_TIMEOUT_SECONDS,
        )
        others = [daemon for daemon in daemons(layout, programs) if not processes.alive(daemon.name)]
        for daemon in others:
            processes.start(daemon, layout)
        for daemon in others:
            processes.wait_ready(daemon, layout)
    with step("Node ready"):
        _wait_node(layout, programs)
    (layout.state / "programs").write_text(str(programs))  # last: from here on `healthy` may say yes
    say(f"The cluster is up. Kubeconfig: {layout.kubeconfig}")


def daemons(layout: Layout, programs: Path) -> list[Daemon]:
    """All components but the registry."""
    return [
        containerd.daemon(layout),
        control_programs.etcd(layout, programs),
        control_programs.api_server(layout, programs),
        control_programs.controller_manager(layout, programs),
        control_programs.scheduler(layout, programs),
        node.kubelet(layout, programs),
        node.proxy(layout, programs),
        addons.coredns(layout, programs),
        addons.metrics_server(layout, programs),
        addons.provisioner(layout, programs),
    ]


def write_configuration(layout: Layout) -> None:
    """Write every configuration file."""
    files = {
        "kube-scheduler.json": control_programs.scheduler_configuration(layout),
        "kubelet.json": node.kubelet_configuration(layout),
        "kube-proxy.json": node.proxy_configuration(layout),
        "Corefile": addons.corefile(layout),
        "cni/windlass.conflist": json.dumps(network.cni_configuration(layout), indent=2),
        "resolv.conf": f"nameserver {DNS_SERVICE_IP}\nsearch {CLUSTER_DOMAIN}\n",
    }
    for name, text in files.items():
        path = layout.configuration(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    addons.volumes(layout).mkdir(exist_ok=True)


def _clean_containerd(layout: Layout, runtime: Daemon) -> None:
    """Have no containers of an earlier cluster in the store, and the sandbox image in it."""
    left = containerd.leftovers(layout)
    if left:  # its last cluster was killed; containerd read them when it started, so it must forget them as well
        containerd.remove_containers(layout, left)
        cgroups.kill_component(runtime.name, leftovers.STOP_GRACE_SECONDS)
        processes.start(runtime, layout)
        processes.wait_ready(runtime, layout)
    containerd.import_pause_image(layout)


def _wait_node(layout: Layout, programs: Path) -> None:
    if not wait_until(lambda: node_ready(layout, programs), READY_TIMEOUT_SECONDS):
        command = [*_kubectl(layout, programs), "describe", "node", NODE_NAME]
        said = attempt(command, timeout_seconds=KUBECTL_TIMEOUT_SECONDS)
        raise ClusterError(
            f"The node is not ready after {READY_TIMEOUT_SECONDS:.0f} s; the kubelet's log is "
            f"{layout.log('kubelet')}.\n{said.stdout}{said.stderr}"
        )


def node_ready(layout: Layout, programs: Path) -> bool:
    """Whether the API answers, the node takes pods, and the default namespace can have them."""
    objects = [f"node/{NODE_NAME}", "serviceaccount/default", "--namespace", "default"]
    ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
    command = [*_kubectl(layout, programs), f"--request-timeout={HEALTH_TIMEOUT_SECONDS:.0f}s", "get", *objects]
    said = attempt([*command, "--output", ready], timeout_seconds=2 * HEALTH_TIMEOUT_SECONDS)
    return said.returncode == 0 and said.stdout.strip() == "True"


def _kubectl(layout: Layout, programs: Path) -> list[str]:
    cache = layout.state / "kubectl-cache"  # not the user's, which would be left behind
    return [str(programs / "kubectl"), "--kubeconfig", str(layout.kubeconfig), "--cache-dir", str(cache)]


def healthy(layout: Layout) -> bool:
    """Whether this version's cluster runs whole: every component lives, the API answers, the node is ready."""
    marker = layout.state / "programs"
    programs = binaries.KUBERNETES.folder(layout)
    if os.geteuid() != 0 or not marker.exists() or marker.read_text() != str(programs):
        return False
    return all(processes.alive(daemon.name) for daemon in daemons(layout, programs)) and node_ready(layout, programs)


def kubeconfig(layout: Layout) -> Path:
    """The administrator's kubeconfig."""
    return layout.kubeconfig


def program_folders(layout: Layout) -> tuple[Path, ...]:
    """kubectl and helm of the cluster's own version."""
    return (binaries.KUBERNETES.folder(layout),)


def status(layout: Layout) -> tuple[bool, str]:
    """Whether the cluster runs whole, and a line for each component."""
    checks.check_root()
    lines = []
    names = [registry.NAME, *(daemon.name for daemon in daemons(layout, binaries.KUBERNETES.folder(layout)))]
    for name in names:
        pids = sorted(cgroups.component_processes(name))
        lines.append(f"{name:<26} {f'process {pids[0]}' if pids else 'does not run':<16} {layout.log(name)}")
    running = healthy(layout)
    lines.append("The cluster is up and its node is ready." if running else "The cluster is not up, or not whole.")
    return running, "\n".join(lines)


def down(layout: Layout) -> None:
    """Remove the cluster, whatever state it is in; says what it found. Raises ClusterError when something stays."""
    checks.check_root()
    with step("Stop every process of the cluster and remove what it made"):
        leftovers.stop(layout, keep_registry=False)
        image_bare.clean(layout)
    left = leaks(layout)
    if left:
        raise ClusterError("Not everything could be removed:\n" + "\n".join(f"    {line}" for line in left))


def leaks(layout: Layout) -> list[str]:
    """A line for each thing of ours that is on this machine besides caches and logs; empty after `down`."""
    checks.check_root()
    return [*leftovers.leaks(layout), *image_bare.leaks(layout)]
