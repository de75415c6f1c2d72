"""Parts of the bare cluster that can be tried without starting it."""

from __future__ import annotations

import doctest
import importlib
import io
import json
import socket
import subprocess
import tarfile
import tomllib
from pathlib import Path
from types import SimpleNamespace

import addons
import certificates
import checks
import containerd
import control_programs
import lock
import node
import pause_image
import processes
import pytest
from console import ClusterError
from layout import HERE, Layout
from processes import Daemon

GIB = 1024**3


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    where = Layout(cache=tmp_path / "cache", state=tmp_path / "state")
    where.state.mkdir()
    return where


def test_every_certificate_is_signed_by_its_authority_for_its_names(where: Layout) -> None:
    certificates.make_all(where)
    for certificate in (*certificates.SERVERS, *certificates.CLIENTS):
        file = where.pki / f"{certificate.file}.crt"
        authority = where.pki / f"{certificate.authority}.crt"
        checked = subprocess.run(["openssl", "verify", "-CAfile", authority, file], capture_output=True, check=False)
        assert checked.returncode == 0, checked
        text = subprocess.run(
            ["openssl", "x509", "-noout", "-subject", "-ext", "subjectAltName", "-in", file],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert certificate.user in text
        assert all(name.partition(":")[2] in text for name in certificate.names)


def test_a_kubeconfig_stands_alone_and_only_its_owner_may_read_it(where: Layout) -> None:
    certificates.make_all(where)
    content = json.loads(where.kubeconfig.read_text())
    assert where.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert set(content["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert str(where.pki) not in where.kubeconfig.read_text()


def test_the_sandbox_image_is_the_same_bytes_for_the_same_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"static")
    archive = pause_image.archive(program)
    assert archive == pause_image.archive(program)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        with tarfile.open(fileobj=tar.extractfile(manifest[0]["Layers"][0])) as layer:
            entry = layer.getmember(pause_image.PROGRAM)
    assert manifest[0]["RepoTags"] == [pause_image.NAME]
    assert entry.mode & 0o111


def test_containerd_keeps_images_in_the_cache_and_all_else_in_the_state(where: Layout) -> None:
    configuration = tomllib.loads(containerd.configuration(where))
    assert configuration["root"] == str(where.cache / "containerd")
    assert configuration["state"].startswith(str(where.state))
    assert configuration["grpc"]["address"].startswith(str(where.state))
    plugin = configuration["plugins"]["io.containerd.grpc.v1.cri"]
    assert plugin["restrict_oom_score_adj"] is True
    assert plugin["containerd"]["runtimes"]["runc"]["options"]["Root"].startswith(str(where.state))
    assert tomllib.loads(containerd.registry_configuration())["server"] == "http://127.0.0.1:5001"


def test_the_kubelet_writes_to_no_folder_but_ours(where: Layout) -> None:
    configuration = json.loads(node.kubelet_configuration(where))
    for field in ("podLogsDir", "volumePluginDir", "resolvConf"):
        assert configuration[field].startswith(str(where.state))
    assert f"--root-dir={where.state / 'kubelet'}" in node.kubelet(where, Path("/programs")).argv


def test_no_two_programs_want_the_same_port(where: Layout) -> None:
    programs = Path("/programs")
    daemons = [
        control_programs.etcd(where, programs), control_programs.api_server(where, programs),
        control_programs.controller_manager(where, programs), control_programs.scheduler(where, programs),
        node.kubelet(where, programs), node.proxy(where, programs),
        addons.coredns(where, programs), addons.metrics_server(where, programs),
    ]  # fmt: skip
    ports = [port for daemon in daemons for _, port in daemon.listens]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("module", sorted(path.stem for path in HERE.glob("*.py") if ">>> " in path.read_text()))
def test_examples_in_docstrings_are_true(module: str) -> None:
    tried = doctest.testmod(importlib.import_module(module))
    assert (tried.failed, tried.attempted > 0) == (0, True)


def test_names_of_flags_take_dashes() -> None:
    assert control_programs.flags(bind_address="127.0.0.1", secure_port=1) == ("--bind-address=127.0.0.1", "--secure-port=1")


def test_a_port_that_another_program_holds_is_named_before_anything_starts(where: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        daemon = Daemon("etcd", ("/bin/false",), ready=lambda: False, listens=(("127.0.0.1", port),))
        with pytest.raises(ClusterError, match=f"Port {port} on 127.0.0.1, which `etcd` needs"):
            processes.start(daemon, where)
    assert not where.logs.exists()


def test_a_second_command_waits_for_the_first_and_gives_up_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock.exclusive(path), pytest.raises(ClusterError, match="has held"), lock.exclusive(path, wait_seconds=0.1):
        pass
    with lock.exclusive(path, wait_seconds=0.1):  # free again
        pass


def test_too_little_disk_is_said_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * GIB))
    (problem,) = checks.room(Layout(cache=tmp_path, state=Path("/short")))
    assert "2.0 GiB are free" in problem
    assert f"{checks.COLD_DISK_GIB} GiB are needed for a first start" in problem


def test_a_state_folder_that_is_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    deep = Layout(cache=tmp_path, state=Path("/") / ("d" * 100))
    assert any("set XDG_STATE_HOME" in problem for problem in checks.room(deep))


def test_who_is_not_root_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="needs root, and this is user 1000"):
        checks.check_root()
