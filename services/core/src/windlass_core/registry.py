"""Versions of datasets and models on top of the store: numbered once, visible when whole, never changed.

    <kind>/<name>/<version>/claim.json            who may write this version: create-only, so no two publishers own one number
    <kind>/<name>/<version>/files/<try>/<path>    the bytes; each try writes into a folder of its own
    <kind>/<name>/<version>/manifest.json         written last, create-only: from then on the version exists

A publisher that dies halfway leaves a claim and files that no manifest names; the next try of the same owner gets the same
number and a fresh folder. Two tries of one owner at once (a pod thought dead, and its replacement) cannot mix their files,
and the first manifest wins. Knows nothing of what a dataset or a model is.
"""

import hashlib
import json
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from windlass_core.contracts import VersionReference
from windlass_core.errors import BadData, Conflict, DigestMismatch, NotFound
from windlass_core.manifests import DatasetContent, Manifest, ManifestFile, ModelContent
from windlass_core.store import URI_SCHEME, Store

Kind = Literal["datasets", "models"]

# A publisher looks for its own claim among the newest of this many versions before it claims a new number.
OWN_CLAIM_WINDOW = 64
# So many publishers of one name at once may be beaten to a number before one gives up.
CLAIM_TRIES = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedVersion:
    """One whole version. Every read checks the digest of what it reads."""

    store: Store
    reference: VersionReference
    manifest: Manifest

    @property
    def folder(self) -> str:
        """The version's folder in the store, for what is kept beside the version and is no part of it."""
        return _folder(self.manifest.kind, self.manifest.name, self.manifest.version)

    def read(self, path: str) -> bytes:
        """All bytes of a file of the version.

        Raises:
            NotFound: the version has no such file.
            DigestMismatch: the bytes in the store are not those that were published.
        """
        file = self._file(path)
        data = self.store.read(self._location(file))
        self._check(file, f"sha256:{hashlib.sha256(data).hexdigest()}")
        return data

    def download(self, path: str, to: Path) -> Path:
        """Copy a file of the version to `to`; a file with wrong bytes does not stay there.

        Raises:
            NotFound: the version has no such file.
            DigestMismatch: the bytes in the store are not those that were published.
        """
        file = self._file(path)
        digest = self.store.download(self._location(file), to)
        try:
            self._check(file, digest)
        except DigestMismatch:
            to.unlink()
            raise
        return to

    def _file(self, path: str) -> ManifestFile:
        file = self.manifest.file(path)
        if file is None:
            raise NotFound(f"{self.reference.uri} has no file {path}")
        return file

    def _location(self, file: ManifestFile) -> str:
        return f"{self.folder}/{file.location}"

    def _check(self, file: ManifestFile, digest: str) -> None:
        if digest != file.sha256:
            raise DigestMismatch(
                f"{file.path} of {self.reference.uri} has digest {digest}, but {file.sha256} was published; "
                "the file was changed or damaged in the store, so the version must be made again"
            )


class Registry:
    """The versions of one kind in one namespace."""

    def __init__(self, store: Store, kind: Kind) -> None:
        self._store = store
        self._kind = kind

    def names(self) -> list[str]:
        """Names that have at least a claim, sorted."""
        return list(self._store.folders(self._kind))

    def versions(self, name: str, *, newest: int | None = None) -> list[int]:
        """Numbers of the whole versions of `name`, ascending; at most the `newest`, because each costs a request."""
        whole = (version for version in reversed(self._numbers(name)) if self._exists(name, version))
        return sorted(islice(whole, newest))

    def claim(self, name: str, owner: str) -> int:
        """A number that belongs to `owner` alone; the same owner gets the same number again.

        Raises:
            Conflict: others were faster CLAIM_TRIES times.
        """
        numbers = self._numbers(name)
        for version in reversed(numbers[-OWN_CLAIM_WINDOW:]):
            if self._owner(name, version) == owner:
                return version
        body = json.dumps({"owner": owner}).encode()
        first = numbers[-1] + 1 if numbers else 1
        for version in range(first, first + CLAIM_TRIES):
            try:
                self._store.create(f"{_folder(self._kind, name, version)}/claim.json", body)
            except Conflict:
                continue
            return version
        raise Conflict(f"{CLAIM_TRIES} other publishers of {self._kind}/{name} were faster; try again")

    def find(self, name: str, owner: str) -> PublishedVersion | None:
        """The whole version that `owner` published, or None."""
        for version in reversed(self._numbers(name)[-OWN_CLAIM_WINDOW:]):
            if self._owner(name, version) == owner:
                return self.open(name, version) if self._exists(name, version) else None
        return None

    def publish(
        self, name: str, version: int, *, owner: str, folder: Path, content: DatasetContent | ModelContent
    ) -> PublishedVersion:
        """Make a claimed version whole: all files below `folder`, then the manifest.

        Returns:
            The version; the one that was published before, when another try of the same owner was faster.
        """
        base = _folder(self._kind, name, version)
        attempt = secrets.token_hex(4)
        files = [self._upload(base, attempt, folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
        manifest = Manifest(
            kind=self._kind,
            name=name,
            version=version,
            owner=owner,
            created_at=datetime.now(UTC),
            files=files,
            dataset=content if isinstance(content, DatasetContent) else None,
            model=content if isinstance(content, ModelContent) else None,
        )
        data = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()
        try:
            self._store.create(f"{base}/manifest.json", data)
        except Conflict:
            log.info("another try published %s first", base)
        published = self.open(name, version)
        self._sweep(base, keep={file.location for file in published.manifest.files})
        return published

    def open(self, name: str, version: int, digest: str | None = None) -> PublishedVersion:
        """A whole version.

        Args:
            name: name of the dataset or model.
            version: its number.
            digest: `sha256:<hex>` that the manifest must have, where the caller knows it.

        Raises:
            NotFound: there is no such version, or it is not whole.
            DigestMismatch: the manifest is not the one that was published.
        """
        uri = f"{URI_SCHEME}{_folder(self._kind, name, version)}"
        data = self._store.read(f"{_folder(self._kind, name, version)}/manifest.json")
        actual = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest is not None and actual != digest:
            raise DigestMismatch(
                f"the manifest of {uri} has digest {actual}, but {digest} was asked for; it was changed or damaged in the store"
            )
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            raise BadData(f"the manifest of {uri} cannot be read by this release: {error.errors()[0]['msg']}") from error
        return PublishedVersion(self._store, VersionReference(name=name, version=version, uri=uri, digest=actual), manifest)

    def _upload(self, base: str, attempt: str, folder: Path, path: Path) -> ManifestFile:
        relative = path.relative_to(folder).as_posix()
        location = f"files/{attempt}/{relative}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._store.upload(f"{base}/{location}", path)
        return ManifestFile(path=relative, location=location, sha256=f"sha256:{digest}", bytes=path.stat().st_size)

    def _sweep(self, base: str, keep: set[str]) -> None:
        """Remove what dead tries left; it is named by no manifest, so nobody reads it."""
        left = [entry.path for entry in self._store.list(f"{base}/files") if entry.path.removeprefix(f"{base}/") not in keep]
        self._store.delete(left)

    def _numbers(self, name: str) -> list[int]:
        return sorted(int(folder) for folder in self._store.folders(f"{self._kind}/{name}") if folder.isdecimal())

    def _exists(self, name: str, version: int) -> bool:
        try:
            self._store.head(f"{_folder(self._kind, name, version)}/manifest.json")
        except NotFound:
            return False
        return True

    def _owner(self, name: str, version: int) -> str | None:
        try:
            claim = json.loads(self._store.read(f"{_folder(self._kind, name, version)}/claim.json"))
        except NotFound:
            return None
        return str(claim["owner"])


def _folder(kind: Kind, name: str, version: int) -> str:
    return f"{kind}/{name}/{version}"
