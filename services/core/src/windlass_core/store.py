"""Bytes under one root URL: an S3-compatible bucket or a folder, seen from one Kubernetes namespace.

Below the root comes the namespace, so `store://raw/x.csv` in an object of namespace `n` is `<root>/n/raw/x.csv`; a `Store`
never reaches outside its namespace. Everything here is built on obstore, so that a create-only write means the same on S3
and on a folder. Knows no datasets and no models: `registry.py` puts versions on top.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.fsspec import FsspecStore

from windlass_core.errors import BadConfiguration, Conflict, NotFound
from windlass_core.store_errors import URI_SCHEME, folder_sentence, translated, writing
from windlass_core.store_root import URL_VARIABLE, open_root

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["MOST_BYTES_UNANNOUNCED", "URI_SCHEME", "URL_VARIABLE", "Entry", "Store", "checked", "path_of"]

# Reads are streamed in pieces of this many bytes, so that a large file never stands in memory.
CHUNK_BYTES = 4 * 1024 * 1024
# Writes go in parts of at least so many bytes, with so many on their way at once: beside the one that fills, that is what an
# upload holds in memory.
PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 2
# S3 takes no more of one file, so that larger files need larger parts; these stay within a pod's memory.
MOST_PARTS = 10_000
LARGEST_PART_BYTES = 128 * 1024 * 1024
MOST_BYTES = LARGEST_PART_BYTES * MOST_PARTS
# What a stream whose size nobody told can hold.
MOST_BYTES_UNANNOUNCED = PART_BYTES * MOST_PARTS

_NAMESPACE = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class Entry:
    """One file: its path relative to the namespace, its size in bytes, when it was written, and the store's tag of its content.

    The time is exact to the second on S3; the tag differs whenever the content does.
    """

    path: str
    bytes: int
    modified: datetime
    tag: str | None


class Store:
    """The files of one namespace.

    All paths are relative and `/`-separated; a path is a file or a folder, never both, and what writes against that raises
    `Conflict`. All methods raise `Unavailable` when the store does not answer within its bounds, `BadConfiguration` when a path
    is none (see `checked`), and the same with reason StoreAccessDenied when the store refuses the credentials.
    """

    def __init__(self, root: "ObjectStore", *, namespace: str) -> None:
        self._root = root
        self._folder = f"{namespace}/"
        self.namespace = namespace

    @classmethod
    def open(cls, namespace: str, environment: Mapping[str, str] | None = None) -> "Store":
        """The store that the environment names.

        Args:
            namespace: Kubernetes namespace whose files are meant.
            environment: WINDLASS_STORE_URL as `s3://bucket[/prefix]`, `file:///folder` or `memory:///`; for S3 also
                AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for servers other than AWS, AWS_ENDPOINT_URL.

        Raises:
            BadConfiguration: the URL is missing or of another kind, or the namespace is not one.
            Unavailable: the folder cannot be made.
        """
        environment = os.environ if environment is None else environment
        url = environment.get(URL_VARIABLE, "")
        if not _NAMESPACE.match(namespace):
            raise BadConfiguration(f"'{namespace}' is not a Kubernetes namespace: use lower-case letters, digits and '-'")
        return cls(open_root(url, environment), namespace=namespace)

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises NotFound."""
        with translated(path):
            return bytes(obstore.get(self._root, self._at(path)).bytes())

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file in order, piece by piece. Raises NotFound."""
        with translated(path):
            for chunk in obstore.get(self._root, self._at(path)).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole, replacing what was there."""
        with writing(path):
            obstore.put(self._root, self._at(path), data)

    def create(self, path: str, data: bytes) -> None:
        """Write a file whole, only if there is none: of many writers exactly one succeeds.

        Raises:
            Conflict: another content is there. The same content is not a conflict: a write whose answer was lost is tried
                again by the client, and must not be mistaken for somebody else's.
        """
        try:
            with writing(path):
                obstore.put(self._root, self._at(path), data, mode="create")
        except Conflict:
            if not self._holds(path, data):
                raise

    def upload(self, path: str, local: Path) -> None:
        """Write a local file of at most MOST_BYTES, replacing what was there; seen only when whole."""
        parts = _part_bytes(local.stat().st_size)
        with writing(path):
            obstore.put(self._root, self._at(path), local, chunk_size=parts, max_concurrency=PARTS_AT_ONCE)

    async def upload_stream(self, path: str, chunks: AsyncIterator[bytes], *, size: int | None = None) -> None:
        """Write bytes as they come; seen only when whole, never when `chunks` raises.

        Args:
            path: of the file.
            chunks: its bytes.
            size: of the file, at most MOST_BYTES, where it is known; without it MOST_BYTES_UNANNOUNCED can be written.
        """
        parts = _part_bytes(size or 0)
        # Asked before, because both stores would take all bytes first, and then fail without saying why.
        if await asyncio.to_thread(self._is_folder, path):
            raise Conflict(folder_sentence(path))
        with writing(path):
            await obstore.put_async(self._root, self._at(path), chunks, chunk_size=parts, max_concurrency=PARTS_AT_ONCE)

    def download(self, path: str, local: Path) -> str:
        """Copy a file to `local`.

        Returns:
            Its digest as `sha256:<hex>`.
        """
        digest = hashlib.sha256()
        local.parent.mkdir(parents=True, exist_ok=True)
        with local.open("wb") as file:
            for chunk in self.chunks(path):
                digest.update(chunk)
                file.write(chunk)
        return f"sha256:{digest.hexdigest()}"

    def head(self, path: str) -> Entry:
        """Size and time of a file. Raises NotFound."""
        with translated(path):
            return self._entry(obstore.head(self._root, self._at(path)))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files in the folder `prefix` and below, in no order; none if there is no such folder."""
        try:
            with translated(prefix):
                for batch in obstore.list(self._root, prefix=self._at(prefix)):
                    yield from (self._entry(meta) for meta in batch)
        except NotFound:
            return

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders directly in `prefix`, sorted."""
        with translated(prefix):
            listing = obstore.list_with_delimiter(self._root, prefix=self._at(prefix))
            return sorted(str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in listing["common_prefixes"])

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        for path in paths:
            try:
                with translated(path):
                    obstore.delete(self._root, self._at(path))
            except NotFound:
                continue

    def filesystem(self) -> FsspecStore:
        """The namespace as an fsspec filesystem with protocol `store`, so that DuckDB and pyarrow read store:// URIs as they
        stand in an object."""
        return _NamespaceFilesystem(self._root, self._folder)

    def _at(self, path: str) -> str:
        """Where a path of the namespace lies below the root."""
        return self._folder + checked(path)

    def _entry(self, meta: Any) -> Entry:
        path = str(meta["path"]).removeprefix(self._folder)
        return Entry(path=path, bytes=int(meta["size"]), modified=meta["last_modified"], tag=meta["e_tag"])

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            return self.read(path) == data
        except NotFound:
            return False

    def _is_folder(self, path: str) -> bool:
        return next(self.list(path), None) is not None


class _NamespaceFilesystem(FsspecStore):
    """An fsspec filesystem over the folder of one namespace, where FsspecStore would open a bucket for each path."""

    protocol = URI_SCHEME.removesuffix("://")
    cachable = False  # fsspec finds instances again by their arguments, which do not tell one root from another

    def __init__(self, root: "ObjectStore", folder: str) -> None:
        super().__init__("file")  # a protocol that obstore knows; ours replaces it, or it would warn
        self.protocol = type(self).protocol
        self._opened_root = root
        self._folder = folder

    def _construct_store(self, bucket: str) -> Any:  # noqa: ARG002 - the signature is obstore's
        return self._opened_root

    def _split_path(self, path: str) -> tuple[str, str]:
        return "", self._folder + path.removeprefix(URI_SCHEME).lstrip("/")

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        # obstore puts "<bucket>/", here "/", and the folder before each name, and globs compare names with the pattern.
        found = await super()._ls(path, detail=True)
        files = [{**entry, "name": entry["name"].removeprefix(f"/{self._folder}")} for entry in found]
        return files if detail else [entry["name"] for entry in files]

    async def _info(self, path: str, **options: Any) -> Any:
        return {**await super()._info(path, **options), "name": path.removeprefix(URI_SCHEME).lstrip("/")}


def path_of(uri: str) -> str:
    """The path that a store:// URI of this namespace names.

    Raises:
        BadConfiguration: the URI is of another kind or leaves the namespace.
    """
    if not uri.startswith(URI_SCHEME):
        raise BadConfiguration(f"'{uri}' is not in the store; write it as store://<path>")
    path = uri.removeprefix(URI_SCHEME)
    return checked(path.rstrip("/")) + ("/" if path.endswith("/") else "")


def checked(path: str) -> str:
    """The path itself, if it stays inside the namespace.

    Raises:
        BadConfiguration: it is empty, absolute, or has empty, `.` or `..` parts or control characters.
    """
    stripped = path.rstrip("/")
    parts = stripped.split("/")
    if not stripped or any(part in ("", ".", "..") for part in parts) or not path.isprintable():
        raise BadConfiguration(f"'{path}' is not a path in the store: it must be relative, without empty, '.' or '..' parts")
    return stripped


def _part_bytes(size: int) -> int:
    """Size of the parts of a file of `size` bytes. Raises BadConfiguration for one of more than MOST_BYTES."""
    if size > MOST_BYTES:
        raise BadConfiguration(f"the file has {size:,} bytes; {MOST_BYTES:,} are the most", reason="TooLarge")
    return max(PART_BYTES, -(-size // MOST_PARTS))
