"""What the cluster tool would run or print, for clusters that can and cannot run here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import choose
import current
import kind
import logs
import metrics_manifest
import minikube
import pytest
import user_shell
from console import ClusterError
from layout import HERE, Layout, layout


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    where = Layout(cache=tmp_path / "cache", state=tmp_path / "state")
    where.state.mkdir()
    return where


@pytest.mark.parametrize(
    ("docker", "programs", "chosen"),
    [
        pytest.param(True, {"kind", "minikube"}, "kind", id="kind comes first where Docker answers"),
        pytest.param(True, {"minikube"}, "minikube", id="minikube is taken where kind is not installed"),
        pytest.param(True, set(), "bare", id="Docker alone makes no cluster"),
        pytest.param(False, {"kind", "minikube"}, "bare", id="kind without Docker is of no use"),
    ],
)
def test_auto_takes_what_the_machine_offers(docker: bool, programs: set[str], chosen: str) -> None:
    assert choose.automatic(docker=docker, programs=programs) == chosen


def test_an_unknown_kind_of_cluster_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "docker")
    with pytest.raises(ClusterError, match="CLUSTER=docker is not known"):
        choose.wanted()


def test_later_commands_need_no_cluster_variable(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTER", raising=False)
    choose.remember(where, kind)
    assert choose.for_use(where) is kind
    assert choose.for_up(where) is kind
    choose.forget(where)
    assert choose.remembered(where) is None


def test_the_users_own_cluster_is_never_taken_without_being_asked_for(where: Layout) -> None:
    choose.remember(where, current)
    assert choose.remembered(where) is None


def test_another_kind_is_not_started_beside_one_that_runs(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    choose.remember(where, kind)
    monkeypatch.setenv("CLUSTER", "minikube")
    with pytest.raises(ClusterError, match="`kind` is up"):
        choose.for_up(where)


def test_kind_is_asked_for_one_waited_for_cluster_with_a_kubeconfig_of_ours() -> None:
    command = " ".join(kind.create_command(Path("/state/kubeconfig")))
    assert command == ("kind create cluster --name windlass --config - --kubeconfig /state/kubeconfig --wait 180s")
    definition = json.loads(kind.configuration())
    assert (definition["kind"], definition["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert "horizontal-pod-autoscaler-sync-period" in definition["kubeadmConfigPatches"][0]


def test_kind_takes_all_images_at_once_and_minikube_one_by_one() -> None:
    images = ["windlass/train:1", "windlass/infer:2"]
    assert kind.load_commands(images) == [["kind", "load", "docker-image", "--name", "windlass", *images]]
    assert minikube.load_commands(images) == [
        ["minikube", "image", "load", "--profile", "windlass", "windlass/train:1"],
        ["minikube", "image", "load", "--profile", "windlass", "windlass/infer:2"],
    ]


def test_minikube_brings_metrics_and_a_quick_autoscaler() -> None:
    command = " ".join(minikube.start_command())
    assert command.startswith("minikube start --profile windlass ")
    assert "--addons metrics-server" in command
    assert "--extra-config controller-manager.horizontal-pod-autoscaler-sync-period=5s" in command


def test_kinds_metrics_server_is_pinned_and_trusts_kinds_kubelets() -> None:
    apply, patch = metrics_manifest.install_commands(Path("kubectl"), Path("config"))
    assert metrics_manifest.VERSION in apply[-1]
    assert json.loads(patch[-1])[0]["value"] == "--kubelet-insecure-tls"


def test_exports_survive_a_shell_even_with_blanks_in_paths() -> None:
    code = user_shell.exports(Path("/a b/kubeconfig"), (Path("/c d/bin"),))
    script = f'{code}\nprintf "%s|%s" "$KUBECONFIG" "$PATH"'
    shown = subprocess.run(["/bin/sh"], input=script, text=True, capture_output=True, check=True)
    assert shown.stdout == f"/a b/kubeconfig|/c d/bin:{os.environ['PATH']}"


def test_folders_follow_the_base_directory_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert layout().cache == Path("/var/cache/me/windlass")
    assert layout().state == Path.home() / ".local/state/windlass/cluster"


def test_logs_are_listed_shown_and_missed_by_name(where: Layout) -> None:
    assert "no logs" in logs.show(where, [], lines=5)
    where.logs.mkdir()
    where.log("etcd").write_text("one\ntwo\nthree\n")
    assert str(where.log("etcd")) in logs.show(where, [], lines=5)
    assert logs.show(where, ["etcd"], lines=2).splitlines()[1:] == ["    two", "    three"]
    with pytest.raises(ClusterError, match=r"no log of kubelet; there are logs of: etcd"):
        logs.show(where, ["kubelet"], lines=5)


def test_a_mistake_of_the_user_is_answered_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "CLUSTER": "nonsense", "XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, HERE, "env"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "CLUSTER=nonsense is not known; it is one of: auto, bare, kind, minikube, current."
