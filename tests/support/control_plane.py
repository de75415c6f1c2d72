"""A control plane without nodes, for tests: etcd, API server and controller manager as processes on the loopback.

The programs are found on the PATH (`make unit` puts them there). Pods are scheduled and run by nobody: tests say what becomes
of them by writing their status, as a kubelet would. Knows nothing of Windlass.
"""

import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from children import free_port, running

TOKEN = "test-admin"
START_SECONDS = 60
CONTROLLERS = "job-controller,deployment-controller,replicaset-controller,garbage-collector-controller,namespace-controller"


@dataclass(frozen=True)
class ControlPlane:
    """One that runs.

    Attributes:
        url: of the API server.
        kubeconfig: of its administrator.
    """

    url: str
    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Output of one kubectl command."""
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=True).stdout


@contextmanager
def control_plane(manifests: Sequence[Path] = ()) -> Iterator[ControlPlane]:
    """A control plane with these manifests applied, while the context lasts.

    Raises:
        AssertionError: a program is missing, or does not come up in time; the message holds its log.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="windlass-control-plane-")))
        etcd_port, peer_port, api_port = (free_port() for _ in range(3))
        etcd_url, url = f"http://127.0.0.1:{etcd_port}", f"https://127.0.0.1:{api_port}"
        plane = ControlPlane(url, _write_kubeconfig(folder, url))
        stack.enter_context(_process(folder, "etcd", _etcd_flags(folder, etcd_url, f"http://127.0.0.1:{peer_port}")))
        stack.enter_context(_process(folder, "kube-apiserver", _api_flags(folder, etcd_url, api_port)))
        _wait_ready(plane, folder)
        stack.enter_context(_process(folder, "kube-controller-manager", _controller_flags(folder, plane.kubeconfig)))
        for manifest in manifests:
            plane.kubectl("apply", "--server-side", "-f", str(manifest))
        yield plane


def _etcd_flags(folder: Path, url: str, peer: str) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]


def _api_flags(folder: Path, etcd_url: str, port: int) -> list[str]:
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    return [
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        "--service-cluster-ip-range=10.250.0.0/24",
        "--authorization-mode=RBAC",
        f"--token-auth-file={tokens}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--disable-admission-plugins=ServiceAccount",  # its controller does not run
    ]


def _controller_flags(folder: Path, kubeconfig: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--controllers={CONTROLLERS}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--cert-dir={folder / 'certificates'}",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
    ]


def _write_kubeconfig(folder: Path, url: str) -> Path:
    path = folder / "kubeconfig"
    named = {"name": "test"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{**named, "user": {"token": TOKEN}}],
        "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _process(folder: Path, program: str, flags: Sequence[str]) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    found = shutil.which(program)
    assert found, f"{program} is not on the PATH; run the tests by make unit"
    return running([found, *flags], folder / f"{program}.log")


def _wait_ready(plane: ControlPlane, folder: Path) -> None:
    context = ssl._create_unverified_context()  # noqa: S323  (a certificate that it made itself a second ago)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{plane.url}/readyz", headers=headers)  # noqa: S310
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as response:  # noqa: S310
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        log = folder / "kube-apiserver.log"
        assert time.monotonic() < deadline, f"the API server is not ready: {log.read_text()[-2000:]}"
        time.sleep(0.2)
