"""Checkpoints that survive a kill at any moment: files first, then COMMIT.json, create-only; without it a step does not exist.

    <folder>/step-<N>/<stem>-<sha256, first 16>.<suffix>   a file is named by its content, so that no later try overwrites it
    <folder>/step-<N>/COMMIT.json                          names the files of the step with their digests

Loading takes the newest committed step whose bytes are those that were committed, else the one before. Old steps lose their
COMMIT.json first and their files after it. Knows nothing of torch: a checkpoint is named bytes.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from windlass_core.errors import Conflict, DigestMismatch, NotFound
from windlass_core.store import Store

log = logging.getLogger(__name__)


class CommittedFile(BaseModel):
    """One file of a committed step."""

    model_config = ConfigDict(frozen=True)

    name: str
    path: str
    sha256: str
    bytes: int


class Commit(BaseModel):
    """COMMIT.json."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    schema_version: Literal[1] = 1
    step: int
    fingerprint: str
    world_size: int
    at: datetime
    files: list[CommittedFile]


@dataclass(frozen=True)
class Checkpoint:
    """A committed step with its bytes, checked."""

    commit: Commit
    files: Mapping[str, bytes]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        store: where they lie.
        folder: path of the run's folder of checkpoints.
        keep: so many of the newest are kept.
        fingerprint: of all that a checkpoint depends on; those with another one are not this run's.
    """

    def __init__(self, store: Store, folder: str, *, keep: int, fingerprint: str) -> None:
        self._store = store
        self._folder = folder
        self._keep = keep
        self._fingerprint = fingerprint

    def save(self, step: int, files: Mapping[str, bytes], *, world_size: int) -> Commit:
        """Commit a step, then forget the oldest.

        Returns:
            What was committed; an earlier commit of the same step stands, if its bytes are whole.
        """
        written = [self._write(step, name, data) for name, data in files.items()]
        commit = Commit(step=step, fingerprint=self._fingerprint, world_size=world_size, at=datetime.now(UTC), files=written)
        try:
            self._store.create(self._commit_path(step), _encode(commit))
        except Conflict:
            commit = self._settle(step, commit)
        # Only a commit that can be read is a reason to forget the ones before.
        if self._commit(step) is not None:
            self._forget_old()
        return commit

    def newest(self) -> Checkpoint | None:
        """The newest committed step that is whole; a damaged one is passed over."""
        for step in reversed(self._steps()):
            checkpoint = self.load(step)
            if checkpoint is not None:
                return checkpoint
        return None

    def load(self, step: int) -> Checkpoint | None:
        """A committed step with checked bytes; None if it does not exist, is damaged, or is of other data or settings."""
        commit = self._commit(step)
        if commit is None:
            return None
        try:
            return Checkpoint(commit, {file.name: self._read(step, file) for file in commit.files})
        except (NotFound, DigestMismatch) as error:
            log.warning("checkpoint is damaged and passed over", extra={"step": step, "detail": error.message})
            return None

    def delete_all(self) -> None:
        """Forget every step; for a run whose result is published."""
        for step in self._steps():
            self._forget(step)

    def _write(self, step: int, name: str, data: bytes) -> CommittedFile:
        digest = hashlib.sha256(data).hexdigest()
        stem, dot, suffix = name.rpartition(".")
        path = f"{stem}-{digest[:16]}{dot}{suffix}"
        self._store.write(f"{self._step_folder(step)}/{path}", data)
        return CommittedFile(name=name, path=path, sha256=f"sha256:{digest}", bytes=len(data))

    def _read(self, step: int, file: CommittedFile) -> bytes:
        path = f"{self._step_folder(step)}/{file.path}"
        data = self._store.read(path)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != file.sha256:
            raise DigestMismatch(f"{path} is not what was committed")
        return data

    def _commit(self, step: int) -> Commit | None:
        try:
            commit = Commit.model_validate_json(self._store.read(self._commit_path(step)))
        except NotFound:
            return None
        except ValidationError:
            log.warning("COMMIT.json cannot be read and its checkpoint is passed over", extra={"step": step})
            return None
        return commit if commit.fingerprint == self._fingerprint else None

    def _settle(self, step: int, commit: Commit) -> Commit:
        """Another try committed this step: its commit stands if it is whole, else it gives way to ours."""
        earlier = self.load(step)
        if earlier is not None:
            return earlier.commit
        self._store.write(self._commit_path(step), _encode(commit))
        return commit

    def _forget_old(self) -> None:
        """Older commits beyond `keep`, and what tries that died halfway left below the newest."""
        steps = self._steps()
        kept = [step for step in steps if self._commit(step) is not None][-self._keep :]
        for step in steps:
            if step < kept[-1] and step not in kept:
                self._forget(step)

    def _forget(self, step: int) -> None:
        self._store.delete([self._commit_path(step)])
        self._store.delete([entry.path for entry in self._store.list(self._step_folder(step))])

    def _steps(self) -> list[int]:
        names = (name.removeprefix("step-") for name in self._store.folders(self._folder) if name.startswith("step-"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _step_folder(self, step: int) -> str:
        return f"{self._folder}/step-{step}"

    def _commit_path(self, step: int) -> str:
        return f"{self._step_folder(step)}/COMMIT.json"


def _encode(commit: Commit) -> bytes:
    return commit.model_dump_json(by_alias=True, indent=1).encode()
