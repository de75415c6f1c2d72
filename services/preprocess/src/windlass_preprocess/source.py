"""The raw files of a Dataset: found in the store, waited for, copied to the scratch disk with their digests.

Copied and not read in place: a digest needs every byte anyway, CSV is then read by all cores, and a file that is replaced while
it is read cannot give half of each. Knows no formats beyond their names.
"""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from windlass_core.errors import BadConfiguration, BadData, NotFound, Stopped
from windlass_core.raw_files import Format as Format
from windlass_core.raw_files import find as find
from windlass_core.raw_files import format_of as format_of
from windlass_core.resources.dataset import Source
from windlass_core.store import URI_SCHEME, Entry, Store
from windlass_preprocess.database import on_scratch

# How long a run waits for its source; the object then says so, and the operator tries again later.
WAIT_SECONDS = 600.0
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class SourceFile:
    """One raw file: its path in the store, its copy here, and sha256:<hex> of its bytes."""

    path: str
    local: Path
    digest: str

    @property
    def uri(self) -> str:
        """What a Dataset names it by."""
        return f"{URI_SCHEME}{self.path}"


def wait_for(
    store: Store,
    source: Source,
    *,
    stop_requested: threading.Event,
    waiting: Callable[[str], None],
    seconds: float = WAIT_SECONDS,
    poll: float = POLL_SECONDS,
) -> list[Entry]:
    """The files that the source names, sorted by path, as soon as there is one.

    Args:
        store: where to look.
        source: a file, a folder (ends with /) or a glob, in which `*` also matches `/`.
        stop_requested: ends the waiting.
        waiting: called with a sentence while there is none.
        seconds: to wait at most.
        poll: seconds between two looks.

    Raises:
        NotFound: there is still none; its reason is SourceNotFound.
        Stopped: `stop_requested` was set.
    """
    deadline = time.monotonic() + seconds
    while not (found := find(store, source)):
        if time.monotonic() >= deadline:
            sentence = f"nothing is at {source.uri} in namespace {store.namespace}; upload it, or correct spec.source.uri"
            raise NotFound(sentence, reason="SourceNotFound")
        waiting(f"Nothing is at {source.uri} yet; upload it, and the preparation goes on by itself.")
        if stop_requested.wait(poll):
            raise Stopped("the run was asked to stop while it waited for its source")
    return found


def copy(store: Store, files: list[Entry], folder: Path, *, check_stop: Callable[[], None]) -> list[SourceFile]:
    """Copy the files into `folder`, in order.

    Raises:
        BadConfiguration: the disk is too small (reason ScratchFull).
        BadData: a file is empty (reason EmptySource).
    """
    for entry in files:
        if entry.bytes == 0:
            raise BadData(f"{URI_SCHEME}{entry.path} is empty", reason="EmptySource")
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(entry.bytes for entry in files)
    if needed > (free := shutil.disk_usage(folder).free):
        sentence = f"the source has {needed:,} bytes, but the node's disk has room for {free:,} only"
        raise BadConfiguration(sentence, reason="ScratchFull")
    copied = []
    for number, entry in enumerate(files):
        check_stop()
        local = folder / _local_name(number, entry.path)
        with on_scratch():
            digest = store.download(entry.path, local)
        copied.append(SourceFile(path=entry.path, local=local, digest=digest))
    return copied


def _local_name(number: int, path: str) -> str:
    """A name that no disk finds too long and in which DuckDB sees no pattern; its ending tells whether it is compressed."""
    return f"{number:05}.gz" if path.lower().endswith(".gz") else f"{number:05}"
