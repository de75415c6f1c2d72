"""The stores that the same tables run on: a folder, and a real S3 server."""

from pathlib import Path

import pytest
from s3 import S3Server, s3_server

__all__ = ["s3_server", "store_environment"]


@pytest.fixture(params=["folder", "s3"])
def store_environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Environment that names an empty store."""
    if request.param == "folder":
        return {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}
    server: S3Server = request.getfixturevalue("s3_server")
    return server.environment()
