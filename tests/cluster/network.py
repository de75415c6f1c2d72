"""The cluster's place in the machine's network: one interface, one nftables table, the CNI configuration.

Pods are joined by the `ptp` plug-in, each by a pair of virtual interfaces and a host route, so all their traffic passes
the host's routing and its Services work without the bridge-netfilter module. kube-proxy runs in nftables mode and keeps
to tables of its own, so that all rules of the cluster go away with three tables.
Must not know: what runs in the cluster.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from layout import (
    CNI_NETWORK,
    INTERFACE,
    NFT_TABLE,
    NODE_IP,
    POD_RANGE,
    POD_RANGE_FIRST,
    POD_RANGE_LAST,
    SERVICE_RANGE,
    Layout,
)
from shell import attempt, found, run

TIMEOUT_SECONDS = 10.0
PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))
OWN_TABLE = ("inet", NFT_TABLE)
CNI_RESULTS = Path("/var/lib/cni/results")  # the CNI library's own cache; containerd 1.6 cannot move it
FORWARD_RULES = tuple(
    ("FORWARD", flag, POD_RANGE, "-m", "comment", "--comment", "windlass", "-j", "ACCEPT") for flag in ("-s", "-d")
)

# Pods that call addresses outside of the cluster do so under the machine's address.
RULES = f"""
table inet {NFT_TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {POD_RANGE} ip daddr != {{ {POD_RANGE}, {SERVICE_RANGE} }} fib daddr type != local masquerade
  }}
}}
"""


def cni_configuration(layout: Layout) -> dict[str, Any]:
    """The pods' network, as containerd's CNI library reads it."""
    ipam = {
        "type": "host-local",
        "dataDir": str(layout.state / "cni-addresses"),
        "ranges": [[{"subnet": POD_RANGE, "gateway": NODE_IP,
                     "rangeStart": POD_RANGE_FIRST, "rangeEnd": POD_RANGE_LAST}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }  # fmt: skip
    return {
        "cniVersion": "0.4.0",
        "name": CNI_NETWORK,
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}],
    }


def create(layout: Layout) -> None:
    """Make the interface with the node's address and the rules. Raises ClusterError when a tool refuses."""
    if not _interface_exists():
        # A bridge without ports is the one kind of interface without a cable that every kernel with containers has.
        _ip("link", "add", INTERFACE, "type", "bridge")
    _ip("address", "replace", f"{NODE_IP}/32", "dev", INTERFACE)
    _ip("link", "set", INTERFACE, "up", "alias", str(layout.state))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run(["nft", "-f", "-"], stdin=f"table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n{RULES}",
        timeout_seconds=TIMEOUT_SECONDS)  # fmt: skip
    _accept_forwarding()


def destroy(layout: Layout) -> None:
    """Remove interfaces, rules and CNI leftovers."""
    for name in pod_interfaces():
        attempt(["ip", "link", "delete", name], timeout_seconds=TIMEOUT_SECONDS)
    if _interface_exists():
        _ip("link", "delete", INTERFACE)
    for family, table in tables():
        run(["nft", "delete", "table", family, table], timeout_seconds=TIMEOUT_SECONDS)
    for rule in forward_rules():
        attempt(["iptables", "-w", "-D", *rule], timeout_seconds=TIMEOUT_SECONDS)
    for file in cni_results(layout):
        file.unlink(missing_ok=True)


def interfaces() -> list[str]:
    """Our interfaces that exist, those of pods included."""
    return [*([INTERFACE] if _interface_exists() else []), *pod_interfaces()]


def pod_interfaces() -> list[str]:
    """The host's ends of the pods' interfaces: other than ours, they carry the node's address."""
    listed = _ip_list("address", "show")
    return names_with_address(listed, NODE_IP, besides=INTERFACE)


def names_with_address(listed: Iterable[Mapping[str, Any]], address: str, *, besides: str) -> list[str]:
    """The names of interfaces with an address, from what `ip -json address show` prints."""
    return [
        entry["ifname"]
        for entry in listed
        if entry.get("ifname", besides) != besides and any(info.get("local") == address for info in entry.get("addr_info", []))
    ]


def owner() -> str | None:
    """The state folder of the cluster that holds the interface; None when there is no interface."""
    if not _interface_exists():
        return None
    return Path(f"/sys/class/net/{INTERFACE}/ifalias").read_text().strip()


def foreign_proxy() -> bool:
    """Whether a kube-proxy that is not ours has rules here; ours never has any without our own table beside them."""
    present = _all_tables()
    return OWN_TABLE not in present and any(table in present for table in PROXY_TABLES)


def tables() -> list[tuple[str, str]]:
    """Our nftables tables that exist; our own last, because while it is there the others are known to be ours."""
    present = _all_tables()
    return [table for table in (*PROXY_TABLES, OWN_TABLE) if table in present] if OWN_TABLE in present else []


def _all_tables() -> set[tuple[str, str]]:
    if found("nft") is None:  # then nobody has made a table with it
        return set()
    listed = run(["nft", "list", "tables"], timeout_seconds=TIMEOUT_SECONDS).splitlines()
    words = [line.split() for line in listed]
    return {(family, name) for _, family, name in (line for line in words if len(line) == 3)}


def cni_results(layout: Layout) -> list[Path]:
    """What the CNI library has kept about our pods: files that name a network namespace in our state."""
    mark = str(layout.state)
    return [path for path in sorted(CNI_RESULTS.glob("*")) if path.is_file() and mark in path.read_text(errors="replace")]


def clashing_routes(listed: Iterable[Mapping[str, Any]], own: Iterable[str]) -> list[str]:
    """Routes, as `ip -json route` prints them, to addresses that the cluster would use, by interfaces not its own."""
    own_interfaces = set(own)
    ours = [ipaddress.IPv4Network(POD_RANGE), ipaddress.IPv4Network(SERVICE_RANGE)]
    clashes = []
    for route in listed:
        if route.get("dst", "default") == "default" or route.get("dev") in own_interfaces:
            continue
        network = ipaddress.IPv4Network(route["dst"], strict=False)
        if any(network.overlaps(used) for used in ours):
            clashes.append(f"{route['dst']} by {route.get('dev', '?')}")
    return clashes


def routes() -> list[dict[str, Any]]:
    """The machine's routes for IPv4."""
    return _ip_list("-4", "route", "show")


def forward_rules() -> list[tuple[str, ...]]:
    """Our rules in iptables' FORWARD chain that are in force."""
    if found("iptables") is None:
        return []
    return [
        rule
        for rule in FORWARD_RULES
        if attempt(["iptables", "-w", "-C", *rule], timeout_seconds=TIMEOUT_SECONDS).returncode == 0
    ]


def _accept_forwarding() -> None:
    """Let pods' traffic pass where a firewall or Docker drops what it does not know; elsewhere change nothing."""
    policy = attempt(["iptables", "-w", "-S", "FORWARD"], timeout_seconds=TIMEOUT_SECONDS).stdout
    if "-P FORWARD DROP" in policy and not forward_rules():
        for rule in FORWARD_RULES:
            run(["iptables", "-w", "-I", *rule], timeout_seconds=TIMEOUT_SECONDS)


def _interface_exists() -> bool:
    return Path(f"/sys/class/net/{INTERFACE}").exists()


def _ip(*arguments: str) -> str:
    return run(["ip", *arguments], timeout_seconds=TIMEOUT_SECONDS)


def _ip_list(*arguments: str) -> list[dict[str, Any]]:
    if found("ip") is None:  # before the packages are installed there is nothing of ours to list
        return []
    listed: list[dict[str, Any]] = json.loads(_ip("-json", *arguments) or "[]")
    return listed
