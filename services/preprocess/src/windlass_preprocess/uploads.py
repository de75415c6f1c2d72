"""Raw files on their way into the store: streamed, resumable, checked, and visible only when whole.

A body with the sha256 of the whole file is kept in parts as it comes, so that it can be resumed after any interruption, by
another pod too; the parts become the file when all are there and the digest is right. The digest names the upload: two clients
that send different files to one path never mix. Without a digest nothing could tell what an interrupted body belongs to, so it
is streamed straight to its place and starts again from nothing. Knows no HTTP.

    uploads/<sha256 of path>/<digest>/<offset>     a part of the file, from that byte on
    uploads/<sha256 of path>/<digest>/complete     the file that these parts became: its size and time, as JSON
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from windlass_core.errors import BadConfiguration, BadData, Conflict, NotFound
from windlass_core.store import Entry, Store, checked

RAW_FOLDER = "raw"
UPLOADS_FOLDER = "uploads"
# Held in memory for each upload in progress; S3 takes parts from 5 MiB on in one request.
PART_BYTES = 8 * 1024 * 1024
# Parts of uploads that nobody resumed are removed when the next upload begins.
KEEP_PARTS = timedelta(days=7)
# What S3 allows for a key is 1024 bytes, namespace and prefix included.
PATH_LENGTH = 900
_COMPLETE = "complete"
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Span:
    """Which bytes of the file a body holds: from `start` to before `end` of `total`."""

    start: int
    end: int
    total: int


@dataclass(frozen=True)
class Received:
    """Where an upload stands: bytes that are kept, and whether they are the whole file."""

    offset: int
    complete: bool
    digest: str
    replaced: bool = False


class OffsetMismatch(Conflict):
    """The body does not begin where the kept bytes end."""

    default_reason = "OffsetMismatch"

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def raw_path(path: str) -> str:
    """The path in the store of the raw file `path`.

    Raises:
        BadConfiguration: it is not a path, too long, or could not be named by a Dataset.
    """
    if path.endswith("/"):
        raise BadConfiguration(f"'{path}' is a folder; name a file")
    if bad := sorted(_GLOB_CHARACTERS & set(path)):
        raise BadConfiguration(
            f"'{path}' has the character {bad[0]}, which means a pattern in a Dataset's source; leave it out"
        )
    if len(path.encode()) > PATH_LENGTH:
        raise BadConfiguration(f"the path has {len(path.encode())} bytes; {PATH_LENGTH} are the most")
    return checked(f"{RAW_FOLDER}/{path}")


async def receive(store: Store, path: str, body: AsyncIterator[bytes]) -> Received:
    """Stream a whole file of unknown digest to its place. Whatever `body` raises, nothing is visible.

    Raises:
        BadData: the body is empty.
    """
    digest = hashlib.sha256()
    size = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal size
        async for chunk in body:
            if chunk:
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if size == 0:
            raise _empty()

    replaced = await asyncio.to_thread(_exists, store, path)
    await store.upload_stream(path, chunks())
    return Received(size, complete=True, digest=f"sha256:{digest.hexdigest()}", replaced=replaced)


class ResumableUpload:
    """One file of known digest on its way to one path."""

    def __init__(self, store: Store, path: str, digest: str) -> None:
        """
        Args:
            store: of the namespace.
            path: of the file in the store, as `raw_path` gives it.
            digest: sha256:<hex> of the whole file.
        """
        self._store = store
        self._path = path
        self._digest = digest
        self._folder = f"{UPLOADS_FOLDER}/{hashlib.sha256(path.encode()).hexdigest()}/{digest.removeprefix('sha256:')}"

    def state(self) -> Received:
        """How much is there."""
        if (entry := self._completed()) is not None:
            return Received(entry.bytes, complete=True, digest=self._digest)
        return Received(sum(part.bytes for part in self._parts()), complete=False, digest=self._digest)

    async def receive(self, body: AsyncIterator[bytes], span: Span | None) -> Received:
        """Keep a body, and make the file of all parts when it is the last.

        Args:
            body: its bytes. What came before it raises is kept.
            span: which bytes of the file it holds; without it the whole file.

        Raises:
            OffsetMismatch: the body does not begin where the kept bytes end.
            BadData: the file is not the one of the digest (reason DigestMismatch), and is forgotten; or the body is empty, or
                longer than its span.
        """
        await asyncio.to_thread(self._sweep)
        start = span.start if span else 0
        if start > 0:
            kept = await asyncio.to_thread(self.state)
            if kept.complete:
                return kept
            if start != kept.offset:
                sentence = f"the body begins at byte {start:,}, but {kept.offset:,} bytes are there; go on from there"
                raise OffsetMismatch(sentence, offset=kept.offset)
        end, whole = await self._keep(body, start, span)
        if end == 0:
            raise _empty()
        if span and end < span.total:
            return Received(end, complete=False, digest=self._digest)
        return await self._finish(whole)

    async def _keep(self, body: AsyncIterator[bytes], start: int, span: Span | None) -> tuple[int, bytes]:
        """Write the body in parts; returns where it ended, and the whole file if it is small enough to be here unwritten."""
        buffer = bytearray()
        at = start
        whole = b""
        try:
            async for chunk in body:
                buffer += chunk
                if span and at + len(buffer) > span.end:
                    raise BadData(f"the body is longer than the {span.end - span.start:,} bytes that Content-Range says")
                while len(buffer) >= PART_BYTES:
                    part = bytes(buffer[:PART_BYTES])
                    del buffer[:PART_BYTES]
                    await asyncio.to_thread(self._store.write, self._part(at), part)
                    at += len(part)
            if at == 0 and len(buffer) == (span.total if span else len(buffer)):
                whole = bytes(buffer)
        finally:
            if buffer and not whole:
                await asyncio.shield(asyncio.to_thread(self._store.write, self._part(at), bytes(buffer)))
            at += len(buffer)
        return at, whole

    async def _finish(self, whole: bytes) -> Received:
        """Make the file of its parts, or of the bytes that are at hand."""
        replaced = await asyncio.to_thread(_exists, self._store, self._path)
        digest = hashlib.sha256()
        size = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal size
            pieces = iter([whole]) if whole else self._assembled()
            while (chunk := await asyncio.to_thread(next, pieces, None)) is not None:
                digest.update(chunk)
                size += len(chunk)
                yield chunk
            if (actual := f"sha256:{digest.hexdigest()}") != self._digest:
                sentence = f"the bytes have {actual}, but {self._digest} was announced; nothing was kept, send the file again"
                raise BadData(sentence, reason="DigestMismatch")

        try:
            await self._store.upload_stream(self._path, chunks())
        except BadData:
            await asyncio.to_thread(self._forget_parts)
            raise
        await asyncio.to_thread(self._remember_completion)
        await asyncio.to_thread(self._forget_parts)
        return Received(size, complete=True, digest=self._digest, replaced=replaced)

    def _part(self, offset: int) -> str:
        return f"{self._folder}/{offset:020}"

    def _parts(self) -> list[Entry]:
        """The parts that follow one another from the first byte on; a part of an older try in between is left out."""
        entries = {entry.path: entry for entry in self._store.list(self._folder)}
        chain: list[Entry] = []
        offset = 0
        while (entry := entries.get(self._part(offset))) is not None:
            chain.append(entry)
            offset += entry.bytes
        return chain

    def _assembled(self) -> Iterator[bytes]:
        for part in self._parts():
            yield from self._store.chunks(part.path)

    def _completed(self) -> Entry | None:
        """The file, if it is still the one that this upload made."""
        try:
            remembered = json.loads(self._store.read(f"{self._folder}/{_COMPLETE}"))
            entry = self._store.head(self._path)
        except NotFound:
            return None
        return entry if remembered == _identity(entry) else None

    def _remember_completion(self) -> None:
        identity = _identity(self._store.head(self._path))
        self._store.write(f"{self._folder}/{_COMPLETE}", json.dumps(identity).encode())

    def _forget_parts(self) -> None:
        entries = self._store.list(self._folder)
        self._store.delete([entry.path for entry in entries if not entry.path.endswith(f"/{_COMPLETE}")])

    def _sweep(self) -> None:
        """Remove what nobody resumed."""
        oldest = datetime.now(UTC) - KEEP_PARTS
        self._store.delete([entry.path for entry in self._store.list(UPLOADS_FOLDER) if entry.modified < oldest])


def _exists(store: Store, path: str) -> bool:
    try:
        store.head(path)
    except NotFound:
        return False
    return True


def _identity(entry: Entry) -> dict[str, object]:
    return {"bytes": entry.bytes, "modified": entry.modified.isoformat()}


def _empty() -> BadData:
    return BadData("the body is empty; a file has at least one byte", reason="EmptyBody")
