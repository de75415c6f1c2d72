"""Debian packages that the bare cluster and the image builds need, installed without starting a service.

Knows: which command comes from which package, and apt-get. Must not know: what the commands are used for.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from console import ClusterError, say, step
from shell import attempt, found, last_lines

CNI_FOLDER = Path("/usr/lib/cni")
APT_TIMEOUT_SECONDS = 900.0
LOCK_WAIT_SECONDS = 300  # another apt-get may be running, for example an unattended upgrade

PACKAGE_OF_COMMAND = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "docker-registry": "docker-registry",
    "conntrack": "conntrack",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "catatonit": "catatonit",
    "mount": "mount",
}
PACKAGE_OF_CNI_PLUGIN = {"ptp": "containernetworking-plugins", "host-local": "containernetworking-plugins"}

# invoke-rc.d and deb-systemd-invoke ask this file before they start a service; 101 means "not allowed".
POLICY_FILE = Path("/usr/sbin/policy-rc.d")
POLICY_MARK = "# written by the Windlass test cluster for the time of one apt-get"
POLICY_TEXT = f"#!/bin/sh\n{POLICY_MARK}\nexit 101\n"


def missing() -> dict[str, str]:
    """What is not installed: command or plug-in, to the package that has it."""
    commands = {name: package for name, package in PACKAGE_OF_COMMAND.items() if found(name) is None}
    plugins = {
        f"{CNI_FOLDER}/{name}": package for name, package in PACKAGE_OF_CNI_PLUGIN.items() if not (CNI_FOLDER / name).exists()
    }
    return commands | plugins


def install() -> None:
    """Install what is missing; does nothing, at once, when nothing is.

    Raises ClusterError when apt-get is not there, or fails, or would have to remove a package.
    """
    wanted = sorted(set(missing().values()))
    if not wanted:
        return
    if found("apt-get") is None:
        raise ClusterError(
            "This machine has no apt-get, so these programs must be installed by hand first: " + ", ".join(sorted(missing()))
        )
    with step(f"Debian packages: {' '.join(wanted)}", slow=True), _no_service_starts():
        _finish_interrupted_installation()
        # --no-remove: a machine with Docker's own containerd must keep it.
        arguments = ["install", "--yes", "--no-install-recommends", "--no-remove", *wanted]
        if _apt_get(arguments).returncode != 0:  # the package lists may be missing or old
            _checked(["update"])
            _checked(arguments)


def _finish_interrupted_installation() -> None:
    updates = Path("/var/lib/dpkg/updates")
    if updates.is_dir() and any(updates.iterdir()):
        _uninterrupted(["dpkg", "--configure", "-a"])


def _apt_get(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return _uninterrupted(["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT_SECONDS}", *arguments])


def _checked(arguments: Sequence[str]) -> None:
    done = _apt_get(arguments)
    if done.returncode != 0:
        raise ClusterError(f"`apt-get {' '.join(arguments)}` failed:\n{last_lines(done.stderr or done.stdout)}")


def _uninterrupted(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a package tool that must not be cut short: an interrupt is taken note of and raised when the tool is done."""
    interrupted: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: interrupted.append(number)) for number in _interrupts()}
    environment = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "LC_ALL": "C"}
    try:
        done = attempt(["setsid", "--wait", *argv], timeout_seconds=APT_TIMEOUT_SECONDS, env=environment)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted:
        raise KeyboardInterrupt
    return done


def _interrupts() -> Sequence[signal.Signals]:
    # Only the main thread may set handlers, and only it receives the interrupt.
    main = threading.current_thread() is threading.main_thread()
    return (signal.SIGINT, signal.SIGTERM) if main else ()


@contextmanager
def _no_service_starts() -> Iterator[None]:
    ours = not POLICY_FILE.exists() or POLICY_MARK in POLICY_FILE.read_text(errors="replace")
    if not ours:
        say(f"  {POLICY_FILE} exists and is left as it is; it decides which services apt-get may start.")
        yield
        return
    try:
        POLICY_FILE.write_text(POLICY_TEXT)
        POLICY_FILE.chmod(0o755)
        yield
    finally:
        POLICY_FILE.unlink(missing_ok=True)
