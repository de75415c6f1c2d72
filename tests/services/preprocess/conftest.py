"""What tests of preprocess share."""

from pathlib import Path

import pytest
from dataset_bench import DatasetBench
from s3 import S3Server, s3_server

from windlass_core.store import Store

__all__ = ["bench", "s3_server", "store_environment"]


@pytest.fixture(params=["folder", "s3"])
def store_environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Environment that names an empty store: a folder, and a real S3 server."""
    if request.param == "folder":
        return {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}
    server: S3Server = request.getfixturevalue("s3_server")
    return server.environment()


@pytest.fixture
def bench(tmp_path: Path) -> DatasetBench:
    """A bench over an empty store in a folder."""
    return DatasetBench(Store.open("default", {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}))
