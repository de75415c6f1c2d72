"""What tests of preprocess share: stores of both kinds, a server of the API over each, and a namespace for each test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dataset_bench import DatasetBench
from s3 import S3Server, s3_server

from windlass_core.serving import BackgroundServer
from windlass_core.store import Store
from windlass_preprocess.app import create

__all__ = ["api", "bench", "client", "namespace", "s3_server", "store", "store_environment"]

LOOPBACK = "127.0.0.1"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module", params=["folder", "s3"])
def store_environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment that names a store: a folder, and a real S3 server."""
    if request.param == "folder":
        return {"WINDLASS_STORE_URL": f"file://{tmp_path_factory.mktemp('store')}"}
    server: S3Server = request.getfixturevalue("s3_server")
    return server.environment()


@pytest.fixture(scope="module")
def api(store_environment: dict[str, str]) -> Iterator[str]:
    """Address of a server of the API over the store."""
    with BackgroundServer(create(store_environment), 0, host=LOOPBACK) as server:
        yield f"http://{LOOPBACK}:{server.port}"


@pytest.fixture
def namespace() -> str:
    """A namespace in which nothing is yet."""
    return f"test-{next(NUMBERS)}"


@pytest.fixture
def store(store_environment: dict[str, str], namespace: str) -> Store:
    """The store of the test's namespace."""
    return Store.open(namespace, store_environment)


@pytest.fixture
def client(api: str, namespace: str) -> Iterator[httpx.Client]:
    """A client whose paths are those below the test's namespace."""
    with httpx.Client(base_url=f"{api}/v1/namespaces/{namespace}/", timeout=30) as client:
        yield client


@pytest.fixture
def bench(tmp_path: Path) -> DatasetBench:
    """A bench over an empty store in a folder."""
    return DatasetBench(Store.open("default", {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}))
