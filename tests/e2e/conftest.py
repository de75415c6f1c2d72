"""The installed product, and namespaces of it, for tests that speak to a real API server through KUBECONFIG."""

import csv
import io
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from kube import SYSTEM_NAMESPACE, Namespace, Upload, kubectl

ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 300
# A helm that was killed leaves its release pending, and the next one would refuse to touch it.
PENDING_RELEASE = "owner=helm,name=windlass,status in (pending-install,pending-upgrade,pending-rollback)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster, and more time than a unit test."""
    for item in items:
        item.add_marker(pytest.mark.e2e)
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """The release as a user has it, with the images of this checkout."""
    kubectl("delete", "secret", "--namespace", SYSTEM_NAMESPACE, "--selector", PENDING_RELEASE)
    images = os.environ.get("WINDLASS_IMAGES")
    values = ["--values", images] if images else []
    command = ["helm", "upgrade", "--install", "windlass", str(ROOT / "charts" / "windlass"), *values]
    place = ["--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", f"--timeout={INSTALL_SECONDS}s"]
    done = subprocess.run([*command, *place], capture_output=True, text=True, timeout=INSTALL_SECONDS + 30, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{kubectl('get', 'pods', '-n', SYSTEM_NAMESPACE)}"


@contextmanager
def fresh_namespace() -> Iterator[Namespace]:
    """A namespace that refuses every pod that is not restricted; removed with all that is in it."""
    namespace = Namespace(f"test-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", namespace.name)
    kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield namespace
    finally:
        kubectl("delete", "namespace", namespace.name, "--wait=false")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace for one test."""
    with fresh_namespace() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_namespace() -> Iterator[Namespace]:
    """A namespace that the tests of one file share."""
    with fresh_namespace() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def upload() -> Upload:
    """Put raw data into the store through the preprocess service, as a user does."""

    def put(namespace: Namespace, path: str, data: bytes) -> None:
        with Namespace(SYSTEM_NAMESPACE).forward("service/windlass-preprocess") as url:
            answer = httpx.put(f"{url}/v1/namespaces/{namespace.name}/raw/{path}", content=data, timeout=60)
        assert answer.is_success, answer.text

    return put


@pytest.fixture(scope="session")
def digits_csv(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The example's data, made by the example's own script."""
    path = tmp_path_factory.mktemp("digits") / "digits.csv"
    subprocess.run([sys.executable, str(ROOT / "examples" / "export_digits.py"), str(path)], check=True, timeout=60)
    return path.read_bytes()


@pytest.fixture(scope="session")
def digit_rows(digits_csv: bytes) -> list[dict[str, int]]:
    """The example's data as rows."""
    return [{name: int(value) for name, value in row.items()} for row in csv.DictReader(io.StringIO(digits_csv.decode()))]
