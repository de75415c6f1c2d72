"""The raw files of a Dataset: found in the store, waited for, copied to the scratch disk with their digests.

Copied and not read in place: a digest needs every byte anyway, CSV is then read by all cores, and a file that is replaced while
it is read cannot give half of each. Knows no formats beyond their names.
"""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from windlass_core.errors import BadConfiguration, BadData, NotFound, Stopped
from windlass_core.resources.dataset import Source
from windlass_core.store import URI_SCHEME, Entry, Store, path_of
from windlass_preprocess.database import on_scratch

Format = Literal["csv", "json", "parquet"]

# How long a run waits for its source; the object then says so, and the operator tries again later.
WAIT_SECONDS = 600.0
POLL_SECONDS = 2.0
# Beyond this a listing, and a message that speaks of it, is of no use to anybody.
MAX_FILES = 10_000
_GLOB_CHARACTERS = frozenset("*?[")
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".json.gz": "json",
    ".jsonl.gz": "json",
    ".parquet": "parquet",
}


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


def find(store: Store, source: Source) -> list[Entry]:
    """The files that the source names, sorted by path; none if there is none.

    Raises:
        BadConfiguration: the source names too many files, or a folder without its /.
    """
    path = path_of(source.uri)
    if path.endswith("/"):
        found = [entry for entry in store.list(path) if not _hidden(entry.path)]
    elif _GLOB_CHARACTERS & set(path):
        found = [entry for entry in store.list(_folder_before_glob(path)) if fnmatchcase(entry.path, path)]
    else:
        found = _file_at(store, path)
    if len(found) > MAX_FILES:
        raise BadConfiguration(f"{source.uri} names {len(found):,} files; a Dataset is made from {MAX_FILES:,} at most")
    return sorted(found, key=lambda entry: entry.path)


def _file_at(store: Store, path: str) -> list[Entry]:
    try:
        return [store.head(path)]
    except NotFound:
        if next(store.list(path), None) is None:
            return []
        raise BadConfiguration(f"{URI_SCHEME}{path} is a folder; name it with a / at its end: {URI_SCHEME}{path}/") from None


def format_of(source: Source, files: list[Entry]) -> Format:
    """The one format of all files.

    Raises:
        BadConfiguration: no format was given, and the names do not tell one.
    """
    if source.format != "auto":
        return source.format
    formats = {_format_of_name(entry.path) for entry in files}
    if len(formats) == 1 and (only := formats.pop()) is not None:
        return only
    odd = next((entry.path for entry in files if _format_of_name(entry.path) is None), None)
    why = f"the name {odd} does not tell its format" if odd else f"the files at {source.uri} are of several formats"
    raise BadConfiguration(f"{why}; set spec.source.format, or name one kind of file ({', '.join(sorted(_ENDINGS))})")


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


def _folder_before_glob(path: str) -> str:
    first = next(at for at, character in enumerate(path) if character in _GLOB_CHARACTERS)
    folder, slash, _ = path[:first].rpartition("/")
    if not slash:
        raise BadConfiguration(f"{URI_SCHEME}{path}: a glob must begin with a folder, for example {URI_SCHEME}raw/*.csv")
    return folder


def _hidden(path: str) -> bool:
    """Whether other tools would leave it out: _SUCCESS, .DS_Store and the like."""
    return path.rsplit("/", 1)[-1].startswith(("_", "."))


def _format_of_name(path: str) -> Format | None:
    name = path.lower()
    return next((format_ for ending, format_ in _ENDINGS.items() if name.endswith(ending)), None)
