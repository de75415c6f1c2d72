"""A store in memory with real data sets in it, for all tests of training."""

from pathlib import Path

import pytest
import torch
from training_runs import publish_diabetes, publish_digits

from windlass_core.contracts import VersionReference
from windlass_core.store import Store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def store() -> Store:
    return Store.open("default", {"WINDLASS_STORE_URL": "memory:///"})


@pytest.fixture(scope="session")
def data_store() -> Store:
    """A store that tests only read data from, or write runs of their own names into."""
    return Store.open("default", {"WINDLASS_STORE_URL": "memory:///"})


@pytest.fixture(scope="session")
def digits(data_store: Store, tmp_path_factory: pytest.TempPathFactory) -> VersionReference:
    return publish_digits(data_store, tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def diabetes(data_store: Store, tmp_path_factory: pytest.TempPathFactory) -> VersionReference:
    return publish_diabetes(data_store, tmp_path_factory.mktemp("diabetes"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
