"""The stores that the same tables run on: a folder, and a real S3 server."""

from pathlib import Path

import pytest


@pytest.fixture(params=["folder"])
def store_environment(tmp_path: Path) -> dict[str, str]:
    """Environment that names an empty store."""
    return {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}
