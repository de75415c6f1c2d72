"""Whatever tests and the processes that they start keep for a while goes with the test run."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass_core.scratch import own_scratch


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One folder for temporary files of all of them; a killed run's is removed by the next."""
    tmp_path_factory.getbasetemp()  # outside of it: what tests keep in their own folders is there to be looked at afterwards
    # Nor may torch compile in every run what it compiled in the one before.
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_uid_{os.getuid()}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
    with own_scratch():
        yield


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """Programs under test take over who is told of exceptions that nobody catches; the test run wants to be told of its own."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before
