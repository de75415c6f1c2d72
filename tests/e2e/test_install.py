"""Install, upgrade, uninstall, install again: a second release beside the one that all tests use, in a namespace of its own.

Its chart is a copy whose CRDs are of a group of their own, so that nothing here touches the kinds of the main release.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import obstore
import pytest
import yaml
from kube import KubectlError, Namespace, kubectl
from obstore.store import S3Store

CHART = Path(__file__).resolve().parents[2] / "charts" / "windlass"
HELM_SECONDS = 180
RELEASE = "second"
CREDENTIALS = f"{RELEASE}-store-credentials"
OURS = f"app.kubernetes.io/instance={RELEASE}"
DATA = b"a,b\n1,2\n"


@dataclass(frozen=True)
class Release:
    """A release of a copied chart in one namespace, whose rights end with that namespace."""

    namespace: Namespace
    chart: Path
    group: str

    def helm(self, *arguments: str) -> str:
        """Output of one helm command in the namespace."""
        command = ["helm", "--namespace", self.namespace.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HELM_SECONDS + 30, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{self.namespace.kubectl('get', 'pods')}"
        return done.stdout

    def install(self, *values: str) -> None:
        """Install or upgrade, and wait until every pod is ready."""
        images = os.environ.get("WINDLASS_IMAGES")
        files = ["--values", images] if images else []
        own = ["--set", f"namespaces={{{self.namespace.name}}}", *values]
        self.helm("upgrade", "--install", RELEASE, str(self.chart), *files, *own, "--wait", f"--timeout={HELM_SECONDS}s")

    def uninstall(self) -> None:
        """Uninstall, and wait until what goes is gone."""
        self.helm("uninstall", RELEASE, "--wait", f"--timeout={HELM_SECONDS}s")

    def upload(self) -> list[str]:
        """Put a file into the store, as a user does; the files that are there then."""
        with self.namespace.forward(f"service/{RELEASE}-preprocess") as url:
            raw = f"{url}/v1/namespaces/{self.namespace.name}/raw"
            answer = httpx.put(f"{raw}/kept.csv", content=DATA, timeout=30)
            assert answer.is_success, answer.text
            listed = httpx.get(raw, timeout=30)
        return [file["uri"] for file in listed.json()["files"]]

    def stored(self) -> bytes:
        """That file, read from the store itself with the Secret's credentials."""
        secret = {key: self.decoded(key) for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        with self.namespace.forward(f"service/{RELEASE}-store", port=7070) as url:
            store = S3Store(
                "windlass",
                endpoint=url,
                region="us-east-1",
                access_key_id=secret["AWS_ACCESS_KEY_ID"],
                secret_access_key=secret["AWS_SECRET_ACCESS_KEY"],
                client_options={"allow_http": True},
            )
            return bytes(obstore.get(store, f"{self.namespace.name}/raw/kept.csv").bytes())

    def decoded(self, key: str) -> str:
        """One key of the Secret with the store's credentials."""
        template = f"go-template={{{{index .data {key!r} | base64decode}}}}".replace("'", '"')
        return self.namespace.kubectl("get", "secret", CREDENTIALS, "-o", template)

    def edit_crds(self, old: str, new: str) -> None:
        """Change the CRDs of the chart's copy."""
        for path in (self.chart / "files" / "crds").glob("*.yaml"):
            path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.fixture
def release(namespace: Namespace, tmp_path: Path) -> Iterator[Release]:
    """A release that is not installed yet; whatever a test leaves of it in the cluster is removed."""
    group = f"install-{uuid.uuid4().hex[:8]}.example"
    chart = tmp_path / "windlass"
    shutil.copytree(CHART, chart)
    for path in (chart / "files" / "crds").glob("*.yaml"):
        crd = yaml.safe_load(path.read_text(encoding="utf-8").replace("windlass.dev", group))
        # Short names and the category belong to the whole cluster, so they stay those of the main release.
        crd["spec"]["names"] |= {"shortNames": [], "categories": []}
        path.write_text(yaml.safe_dump(crd, width=1000), encoding="utf-8")
    copied = Release(namespace, chart, group)
    try:
        yield copied
    finally:
        crds = kubectl("get", "crd", "-o", "name").split()
        own = [name for name in crds if name.endswith(group)]
        if own:
            kubectl("delete", *own, "--wait=false")


def test_an_upgrade_changes_the_crds_and_an_uninstall_keeps_them_with_objects_and_data(release: Release) -> None:
    release.install()
    assert f"the claim {RELEASE}-store and the Secret {CREDENTIALS}" in release.helm("get", "notes", RELEASE)
    assert release.upload() == ["store://raw/kept.csv"]
    secret = release.decoded("AWS_SECRET_ACCESS_KEY")
    kept = {"apiVersion": f"{release.group}/v1alpha1", "kind": "Model", "metadata": {"name": "kept"}, "spec": {}}
    release.namespace.apply(kept)

    release.edit_crds("Names that stand for versions;", "Names by which versions are known;")
    release.install("--set", "logLevel=DEBUG")
    assert "Names by which versions are known" in kubectl("get", "crd", f"models.{release.group}", "-o", "yaml")
    assert release.decoded("AWS_SECRET_ACCESS_KEY") == secret
    assert release.stored() == DATA

    release.uninstall()
    assert release.namespace.list("deployments,services,networkpolicies,serviceaccounts,roles,rolebindings", OURS) == []
    assert release.namespace.get(f"models.{release.group}", "kept") is not None

    release.install()
    assert release.decoded("AWS_SECRET_ACCESS_KEY") == secret
    assert release.stored() == DATA
    assert release.namespace.get(f"models.{release.group}", "kept") is not None


RIGHTS = {
    "list its kinds in its namespace": (("list", "datasets.windlass.dev"), True),
    "make Jobs in its namespace": (("create", "jobs.batch"), True),
    "write the store's Secret in its namespace": (("patch", "secrets/windlass-store"), True),
    "write another Secret": (("patch", "secrets/other"), False),
    "read the store's Secret": (("get", "secrets/windlass-store"), False),
    "list Secrets": (("list", "secrets"), False),
    "delete what it serves by": (("delete", "deployments.apps"), False),
    "list its kinds elsewhere": (("list", "datasets.windlass.dev", "--namespace=default"), False),
    "list its kinds everywhere": (("list", "datasets.windlass.dev", "--all-namespaces"), False),
    "change CRDs": (("patch", "customresourcedefinitions"), False),
}


def test_a_release_that_keeps_to_a_namespace_has_no_right_beyond(release: Release) -> None:
    release.install("--set", "crds.enabled=false")
    operator = f"--as=system:serviceaccount:{release.namespace.name}:{RELEASE}-operator"
    allowed = {words: can_i(release.namespace, operator, *question) for words, (question, _) in RIGHTS.items()}
    assert "forbidden" not in release.namespace.kubectl("logs", f"deployment/{RELEASE}-operator").lower()
    assert allowed == {words: expected for words, (_, expected) in RIGHTS.items()}
    assert kubectl("get", "clusterroles,clusterrolebindings", "-l", OURS, "-o", "name") == ""


def test_files_on_a_shared_volume_need_no_server(release: Release) -> None:
    store = "store.mode=volume,store.volume.accessMode=ReadWriteOnce,store.volume.size=1Gi"
    release.install("--set", f"crds.enabled=false,{store}")
    assert release.upload() == ["store://raw/kept.csv"]
    assert {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in release.namespace.list("pods", OURS)} == {
        "windlass-operator",
        "windlass-preprocess",
        "windlass-train",
    }


def can_i(namespace: Namespace, *question: str) -> bool:
    """What the API server would allow; kubectl ends with 1 where it says no."""
    try:
        return namespace.kubectl("auth", "can-i", *question).strip() == "yes"
    except KubectlError:
        return False
