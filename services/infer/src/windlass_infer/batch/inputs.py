"""The files of a run's input: listed for the plan, then read, their bytes checked against what was listed.

Raw text is read as a stream; Parquet is copied to the scratch disk, because its index stands at its end: one file while the one
before it is read. Knows no rows.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from windlass_core.contracts import DatasetInput, InferRun, VersionReference
from windlass_core.errors import BadData, NotFound
from windlass_core.raw_files import Format, find, format_of
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.resources.dataset import Source
from windlass_core.store import URI_SCHEME, Store
from windlass_infer.batch.plan import Plan, PlannedFile
from windlass_infer.batch.versions import open_version

SPLITS = ("train", "validation", "test")
# Of a compressed piece, at once: a file of zeros must not fill the memory.
UNPACKED_BYTES = 8 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def listed(store: Store, asked: InferRun) -> tuple[VersionReference | None, Format, list[PlannedFile]]:
    """The Dataset version, the format and the files that a run reads, in order.

    Raises:
        NotFound: there is no such version, or no file.
        BadConfiguration: the source names no files that can be read together.
        BadData: a file is empty.
    """
    if isinstance(asked.input, DatasetInput):
        version = open_version(Registry(store, "datasets"), asked.input.dataset)
        return version.reference, "parquet", _files_of_split(version, asked.input.split)
    return None, *_raw_files(store, asked.input)


class Inputs:
    """Reads the files of a plan.

    Attributes:
        digests: sha256:<hex> of each file that was read to its end, by path.
        bytes_read: of the text file that is being read.
        bytes_unpacked: what they came to.
    """

    def __init__(self, store: Store, plan: Plan, scratch: Path, check_stop: Callable[[], None]) -> None:
        self._store = store
        self._plan = plan
        self._scratch = scratch
        self._check_stop = check_stop
        self.digests: dict[str, str] = {}
        self.bytes_read = self.bytes_unpacked = 0
        dataset = plan.dataset
        self._version: PublishedVersion | None = None
        if dataset is not None:
            self._version = Registry(store, "datasets").open(dataset.name, dataset.version, dataset.digest)
        self._fetching = ThreadPoolExecutor(1, "fetch")
        self._coming: dict[str, Future[Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._fetching.shutdown(cancel_futures=True)

    def local(self, file: PlannedFile, following: PlannedFile | None = None) -> Path:
        """A copy of the file on the scratch disk, which the caller removes; that of `following` begins to be made.

        Raises:
            BadData: a raw file is not the one that was planned (reason InputChanged).
            DigestMismatch: a file of a Dataset version is damaged.
        """
        local = self._coming.pop(file.path, None) or self._fetching.submit(self._fetch, file)
        path = local.result()
        if following is not None:
            self._coming[following.path] = self._fetching.submit(self._fetch, following)
        return path

    def _fetch(self, file: PlannedFile) -> Path:
        self._check_stop()
        local = self._scratch / f"input-{len(self.digests)}.parquet"
        if self._version is not None:
            self._version.download(file.path, local)
            self.digests[file.path] = file.sha256 or ""
        else:
            self.digests[file.path] = self._store.download(file.path, local)
            self._check_same(file)
        return local

    def text(self, file: PlannedFile) -> Iterator[bytes]:
        """The bytes of a raw text file, uncompressed, piece by piece. Raises BadData as `local`, and for broken gzip."""
        digest = hashlib.sha256()
        self.bytes_read = self.bytes_unpacked = 0
        compressed = file.path.lower().endswith(".gz")
        unpacker = zlib.decompressobj(_GZIP)
        for number, chunk in enumerate(self._store.chunks(file.path)):
            self._check_stop()
            if number == 0:
                # The stream is of one content; that it was opened on the planned one can be told from now on.
                self._check_same(file)
            digest.update(chunk)
            self.bytes_read += len(chunk)
            if not compressed:
                self.bytes_unpacked += len(chunk)
                yield chunk
                continue
            while chunk:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(_GZIP)
                unpacked = self._unpacked(unpacker, chunk, file)
                self.bytes_unpacked += len(unpacked)
                yield unpacked
                chunk = unpacker.unconsumed_tail or unpacker.unused_data
        if compressed and not unpacker.eof:
            raise BadData(f"{self._plan.uri(file)} is cut short: its gzip stream has no end")
        self.digests[file.path] = f"sha256:{digest.hexdigest()}"

    def _unpacked(self, unpacker: "zlib._Decompress", chunk: bytes, file: PlannedFile) -> bytes:
        try:
            return unpacker.decompress(chunk, UNPACKED_BYTES)
        except zlib.error as error:
            raise BadData(f"{self._plan.uri(file)} is not gzip, or damaged: {error}") from error

    def _check_same(self, file: PlannedFile) -> None:
        now = self._store.head(file.path)
        if (now.tag, now.bytes) != (file.tag, file.bytes):
            sentence = f"{self._plan.uri(file)} was replaced after this run had begun; run again into another folder"
            raise BadData(sentence, reason="InputChanged")


def _files_of_split(version: PublishedVersion, split: str) -> list[PlannedFile]:
    content = version.manifest.dataset
    if content is None:
        raise BadData(f"{version.reference.uri} is no Dataset version")
    names = [name for name in SPLITS if split in (name, "all")]
    paths = [path for name in names if (found := content.splits.get(name)) and found.rows for path in found.files]  # type: ignore[call-overload]
    if not paths:
        raise BadData(f"{version.reference.uri} has no rows in split {split}", reason="EmptySource")
    files = {file.path: file for file in version.manifest.files}
    return [PlannedFile(path=path, bytes=files[path].bytes, sha256=files[path].sha256) for path in paths]


def _raw_files(store: Store, source: Source) -> tuple[Format, list[PlannedFile]]:
    entries = find(store, source)
    if not entries:
        raise NotFound(f"nothing is at {source.uri} in namespace {store.namespace}", reason="SourceNotFound")
    if empty := next((entry.path for entry in entries if entry.bytes == 0), None):
        raise BadData(f"{URI_SCHEME}{empty} is empty", reason="EmptySource")
    files = [PlannedFile(path=entry.path, bytes=entry.bytes, tag=entry.tag) for entry in entries]
    return format_of(source, entries), files
