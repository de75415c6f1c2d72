"""What tests of preprocess share."""

from pathlib import Path

import pytest
from dataset_bench import DatasetBench

from windlass_core.store import Store


@pytest.fixture
def bench(tmp_path: Path) -> DatasetBench:
    """A bench over an empty store in a folder."""
    return DatasetBench(Store.open("default", {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}))
