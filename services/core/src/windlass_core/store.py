"""Bytes under one root URL: an S3-compatible bucket or a folder, seen from one Kubernetes namespace.

Below the root comes the namespace, so `store://raw/x.csv` in an object of namespace `n` is `<root>/n/raw/x.csv`; a `Store`
never reaches outside its namespace. Everything here is built on obstore, so that a create-only write means the same on S3
and on a folder. Knows no datasets and no models: `registry.py` puts versions on top.
"""

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.fsspec import FsspecStore
from obstore.store import LocalStore, MemoryStore, S3Store

from windlass_core.errors import BadConfiguration, Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

URL_VARIABLE = "WINDLASS_STORE_URL"
URI_SCHEME = "store://"

# One request, of at most a few MB each way, that takes longer than this is dead; obstore then tries again.
REQUEST_TIMEOUT = timedelta(seconds=60)
CONNECT_TIMEOUT = timedelta(seconds=5)
# A store that restarts (one pod on one volume) is back within this; after it the caller hears Unavailable.
RETRY_TIMEOUT = timedelta(seconds=90)
MAX_RETRIES = 10
# Reads are streamed in pieces of this many bytes, so that a large file never stands in memory.
CHUNK_BYTES = 4 * 1024 * 1024

# What a folder and versitygw say when part of a path is a file, and when a path is a folder. obstore has no error types for
# these: from a folder they come as any failure does, from versitygw as the answer to a second creator.
_BELOW_A_FILE = (f"(os error {errno.ENOTDIR})", "<Code>ObjectParentIsFile</Code>")
_IS_A_FOLDER = (f"(os error {errno.EISDIR})", "<Code>ExistingObjectIsDirectory</Code>")

_NAMESPACE = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class Entry:
    """One file: its path relative to the namespace, its size in bytes, and when it was written."""

    path: str
    bytes: int
    modified: datetime


class Store:
    """The files of one namespace.

    All paths are relative and `/`-separated; a path is a file or a folder, never both, and what writes against that raises
    `Conflict`. All methods raise `Unavailable` when the store does not answer within its
    bounds and `BadConfiguration` with reason StoreAccessDenied when it refuses the credentials.
    """

    def __init__(self, root: "ObjectStore", *, namespace: str) -> None:
        self._root = root
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
        return cls(_open_root(url, namespace, environment), namespace=namespace)

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises NotFound."""
        with _translated(path):
            return bytes(obstore.get(self._root, checked(path)).bytes())

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file in order, piece by piece. Raises NotFound."""
        with _translated(path):
            for chunk in obstore.get(self._root, checked(path)).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole, replacing what was there."""
        with _writing(path):
            obstore.put(self._root, checked(path), data)

    def create(self, path: str, data: bytes) -> None:
        """Write a file whole, only if there is none: of many writers exactly one succeeds.

        Raises:
            Conflict: another content is there. The same content is not a conflict: a write whose answer was lost is tried
                again by the client, and must not be mistaken for somebody else's.
        """
        try:
            with _writing(path):
                obstore.put(self._root, checked(path), data, mode="create")
        except Conflict:
            if not self._holds(path, data):
                raise

    def upload(self, path: str, local: Path) -> None:
        """Write a local file of any size, replacing what was there; seen only when whole."""
        with _writing(path):
            obstore.put(self._root, checked(path), local)

    async def upload_stream(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Write bytes of unknown length as they come; seen only when whole, never when `chunks` raises."""
        # Asked before, because both stores would take all bytes first, and then fail without saying why.
        if await asyncio.to_thread(self._is_folder, path):
            raise Conflict(_folder_sentence(path))
        with _writing(path):
            await obstore.put_async(self._root, checked(path), chunks)

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
        with _translated(path):
            return _entry(obstore.head(self._root, checked(path)))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files in the folder `prefix` and below, in no order; none if there is no such folder."""
        try:
            with _translated(prefix):
                for batch in obstore.list(self._root, prefix=checked(prefix)):
                    yield from (_entry(meta) for meta in batch)
        except NotFound:
            return

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders directly in `prefix`, sorted."""
        with _translated(prefix):
            listing = obstore.list_with_delimiter(self._root, prefix=checked(prefix))
            return sorted(str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in listing["common_prefixes"])

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""
        for path in paths:
            try:
                with _translated(path):
                    obstore.delete(self._root, checked(path))
            except NotFound:
                continue

    def filesystem(self) -> FsspecStore:
        """The namespace as an fsspec filesystem with protocol `store`, so that DuckDB and pyarrow read store:// URIs as they
        stand in an object."""
        return _NamespaceFilesystem(self._root)

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            return self.read(path) == data
        except NotFound:
            return False

    def _is_folder(self, path: str) -> bool:
        return next(self.list(path), None) is not None


class _NamespaceFilesystem(FsspecStore):
    """An fsspec filesystem over the opened root of one namespace, where FsspecStore would open a bucket for each path."""

    protocol = URI_SCHEME.removesuffix("://")
    cachable = False  # fsspec finds instances again by their arguments, which do not tell one root from another

    def __init__(self, root: "ObjectStore") -> None:
        super().__init__("file")  # a protocol that obstore knows; ours replaces it, or it would warn
        self.protocol = type(self).protocol
        self._namespace_root = root

    def _construct_store(self, bucket: str) -> Any:  # noqa: ARG002 - the signature is obstore's
        return self._namespace_root

    def _split_path(self, path: str) -> tuple[str, str]:
        return "", path.removeprefix(URI_SCHEME).lstrip("/")

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        # obstore puts "<bucket>/" before each name; here it is empty, and globs compare names with the pattern.
        found = await super()._ls(path, detail=True)
        files = [{**entry, "name": entry["name"].lstrip("/")} for entry in found]
        return files if detail else [entry["name"] for entry in files]


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


def _open_root(url: str, namespace: str, environment: Mapping[str, str]) -> "ObjectStore":
    split = urlsplit(url)
    match split.scheme:
        case "s3":
            prefix = "/".join(part for part in (split.path.strip("/"), namespace) if part)
            return S3Store(
                split.netloc,
                prefix=prefix,
                config=_s3_config(environment),
                client_options=_client_options(environment),
                retry_config=_RETRY,
            )
        case "file":
            with _translated(""):
                return LocalStore(Path(unquote(split.path)) / namespace, mkdir=True, automatic_cleanup=False)
        case "memory":
            return MemoryStore()
        case _:
            raise BadConfiguration(f"{URL_VARIABLE} is '{url}'; it must be s3://bucket[/prefix] or file:///folder")


_RETRY: "RetryConfig" = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}


def _s3_config(environment: Mapping[str, str]) -> Any:
    names = {
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
        "region": "AWS_REGION",
        "endpoint": "AWS_ENDPOINT_URL",
    }
    return {key: environment[name] for key, name in names.items() if environment.get(name)}


def _client_options(environment: Mapping[str, str]) -> "ClientConfig":
    plain = environment.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return {"timeout": REQUEST_TIMEOUT, "connect_timeout": CONNECT_TIMEOUT, "allow_http": plain}


def _entry(meta: Any) -> Entry:
    return Entry(path=str(meta["path"]), bytes=int(meta["size"]), modified=meta["last_modified"])


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """obstore's errors as the few that callers decide on, each naming the path."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise NotFound(f"nothing is at {URI_SCHEME}{path}") from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise Conflict(f"something else is at {URI_SCHEME}{path} already") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        message = f"the store refuses access to {URI_SCHEME}{path}; check the credentials in the Secret windlass-store"
        raise BadConfiguration(message, reason="StoreAccessDenied") from error
    except (BaseError, OSError) as error:
        if path and _says(error, _BELOW_A_FILE):  # without a path it is the root that is a file
            raise NotFound(f"nothing is at {URI_SCHEME}{path}") from error
        raise Unavailable(f"the store does not answer for {URI_SCHEME}{path}: {_first_line(error)}") from error


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """As `_translated`, with a Conflict that says which of file and folder is in the way of the other."""
    try:
        with _translated(path):
            yield
    except (Conflict, NotFound, Unavailable) as error:
        if _says(error.__cause__, _BELOW_A_FILE):
            sentence = (
                f"{URI_SCHEME}{path} cannot be written, because a file is where its path needs a folder; use another path"
            )
            raise Conflict(sentence) from error
        if _says(error.__cause__, _IS_A_FOLDER):
            raise Conflict(_folder_sentence(path)) from error
        raise


def _folder_sentence(path: str) -> str:
    return f"{URI_SCHEME}{path} cannot be written, because it is a folder; use another path"


def _says(error: BaseException | None, phrases: Sequence[str]) -> bool:
    return any(phrase in str(error) for phrase in phrases)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
