"""Reading what the kernel and `ip` say about the machine: mounts, control groups, routes, interfaces."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import cgroups
import mounts
import network
import pytest
from layout import INTERFACE, NODE_IP, POD_RANGE, POD_RANGE_FIRST, POD_RANGE_LAST, Layout

VERSION_1 = """\
25 20 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
28 25 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
29 25 0:26 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
30 25 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
31 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
32 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
VERSION_2 = "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("table", "unified"),
    [
        pytest.param(VERSION_1, False, id="version 1 with an empty version 2 beside it is version 1"),
        pytest.param(VERSION_2, True, id="one hierarchy at the top is version 2"),
    ],
)
def test_the_version_of_control_groups_is_what_the_kubelet_will_see(table: str, unified: bool) -> None:
    assert cgroups.is_unified(mounts.parse(table)) is unified


def test_controllers_that_share_a_mount_are_both_found() -> None:
    hierarchies = cgroups.v1_hierarchies(mounts.parse(VERSION_1))
    assert hierarchies["cpu"] == hierarchies["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert hierarchies["systemd"] == Path("/sys/fs/cgroup/systemd")


@pytest.mark.parametrize(
    ("removed", "missing"),
    [
        pytest.param("nothing of this kind", [], id="a whole machine lacks nothing"),
        pytest.param("memory", ["memory"], id="a missing controller is named"),
        pytest.param("cpu,cpuacct", ["cpu", "cpuacct"], id="each controller of a missing mount is named"),
    ],
)
def test_missing_controllers_are_named(removed: str, missing: list[str]) -> None:
    table = "".join(line for line in VERSION_1.splitlines(keepends=True) if f"/cgroup/{removed} " not in line)
    assert cgroups.missing_controllers(mounts.parse(table)) == missing


def test_a_mount_point_with_a_blank_is_read_as_it_is() -> None:
    (mount,) = mounts.parse(r"40 20 8:1 / /home/a\040b rw - ext4 /dev/sda1 rw,errors=remount-ro")
    assert mount == mounts.Mount(Path("/home/a b"), "ext4", ("rw", "errors=remount-ro"))


def test_mounts_below_a_folder_come_last_mounted_first_and_neighbours_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    points = [tmp_path / "state", tmp_path / "state/pods", tmp_path / "state/pods/volume", tmp_path / "state-of-another"]
    monkeypatch.setattr(mounts, "mounts", lambda: [mounts.Mount(point, "tmpfs", ()) for point in points])
    assert mounts.below(tmp_path / "state") == [points[2], points[1], points[0]]


@pytest.mark.parametrize(
    ("route", "clashes"),
    [
        pytest.param({"dst": "default", "dev": "eth0"}, [], id="the default route is no clash"),
        pytest.param({"dst": "192.168.1.0/24", "dev": "eth0"}, [], id="a network elsewhere is no clash"),
        pytest.param(
            {"dst": "10.213.4.0/24", "dev": "tun0"}, ["10.213.4.0/24 by tun0"], id="a part of the pods' range clashes"
        ),
        pytest.param({"dst": "10.0.0.0/8", "dev": "tun0"}, ["10.0.0.0/8 by tun0"], id="a range that holds ours clashes"),
        pytest.param({"dst": "10.214.0.7", "dev": "eth0"}, ["10.214.0.7 by eth0"], id="one address of a Service clashes"),
        pytest.param({"dst": "10.213.0.12", "dev": "veth1"}, [], id="a pod of the last cluster is no clash"),
    ],
)
def test_routes_of_others_into_our_addresses_are_named(route: dict[str, str], clashes: list[str]) -> None:
    assert network.clashing_routes([route], own=["veth1", INTERFACE]) == clashes


def test_the_interfaces_of_pods_are_those_with_the_nodes_address_but_not_the_nodes_own() -> None:
    listed = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": INTERFACE, "addr_info": [{"local": NODE_IP}]},
        {"ifname": "veth1", "addr_info": [{"local": "fe80::1"}, {"local": NODE_IP}]},
        {},
    ]
    assert network.names_with_address(listed, NODE_IP, besides=INTERFACE) == ["veth1"]


def test_no_pod_can_get_the_nodes_address() -> None:
    first, last, node = map(ipaddress.IPv4Address, (POD_RANGE_FIRST, POD_RANGE_LAST, NODE_IP))
    pods = ipaddress.IPv4Network(POD_RANGE)
    assert node in pods
    assert first in pods
    assert last in pods
    assert node < first < last < pods.broadcast_address


def test_addresses_of_pods_are_remembered_in_the_state_that_down_removes(tmp_path: Path) -> None:
    where = Layout(cache=tmp_path / "cache", state=tmp_path / "state")
    assert json.dumps(str(where.state / "cni-addresses")) in json.dumps(network.cni_configuration(where))
