"""Raw files on their way into the store: streamed, resumable, checked, and visible only when whole.

A body with the sha256 of the whole file is kept in parts as it comes, so that it can be resumed after any interruption, by
another pod too; the parts become the file when all are there and the digest is right. The digest names the upload: two clients
that send different files to one path never mix. Without a digest nothing could tell what an interrupted body belongs to, so it
is streamed straight to its place and starts again from nothing. Knows no HTTP.

    uploads/<sha256 of path>/<digest>/<offset>     a part of the file, from that byte on
    uploads/<sha256 of path>/<digest>/complete     the file that these parts became: its size, time and tag, as JSON
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from windlass_core.errors import BadConfiguration, BadData, Conflict, NotFound
from windlass_core.store import MOST_BYTES_UNANNOUNCED, PART_BYTES, Entry, Store, checked

RAW_FOLDER = "raw"
UPLOADS_FOLDER = "uploads"
# Parts of uploads that nobody resumed are removed when they are so old.
KEEP_PARTS = timedelta(days=7)
# Between two looks for such parts, in seconds: a look lists the uploads of all these days, too much for each of many files.
SWEEP_SECONDS = 3600.0
# What S3 allows for a key is 1024 bytes, namespace and prefix included; what disks allow for one name is less.
PATH_LENGTH = 900
NAME_LENGTH = 255
_COMPLETE = "complete"
_GLOB_CHARACTERS = frozenset("*?[")
# How a store in a folder names what is being written.
_UNFINISHED = re.compile(r"#[0-9]+$")


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
    if (longest := max(len(part.encode()) for part in path.split("/"))) > NAME_LENGTH:
        raise BadConfiguration(f"a name in the path has {longest} bytes; {NAME_LENGTH} are the most")
    if _UNFINISHED.search(path):
        raise BadConfiguration(f"'{path}' ends with # and a number, as files do that are being written; name it otherwise")
    return checked(f"{RAW_FOLDER}/{path}")


async def receive(store: Store, path: str, body: AsyncIterator[bytes], announced: int | None = None) -> Received:
    """Stream a whole file of unknown digest to its place. Whatever `body` raises, nothing is visible.

    Args:
        store: of the namespace.
        path: of the file in the store, as `raw_path` gives it.
        body: its bytes.
        announced: its size in bytes, where the client told it.

    Raises:
        BadData: the body is empty, or too large for one whose size nobody told (reason TooLarge).
    """
    digest = hashlib.sha256()
    size = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal size
        async for chunk in body:
            if chunk:
                digest.update(chunk)
                size += len(chunk)
                if announced is None and size > MOST_BYTES_UNANNOUNCED:
                    sentence = f"a file of more than {MOST_BYTES_UNANNOUNCED:,} bytes needs Content-Length"
                    raise BadData(sentence, reason="TooLarge")
                yield chunk
        if size == 0:
            raise _empty()

    replaced = await asyncio.to_thread(_exists, store, path)
    await store.upload_stream(path, chunks(), size=announced)
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
            OffsetMismatch: the body does not begin where the kept bytes end, or another client has made these parts go.
            BadData: the file is not the one of the digest (reason DigestMismatch), and is forgotten; or the body is empty, or
                longer than its span.
        """
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
        return await self._finish(whole, end)

    async def _keep(self, body: AsyncIterator[bytes], start: int, span: Span | None) -> tuple[int, bytes]:
        """Write the body in parts; returns where it ended, and the whole file if it is small enough to be here unwritten."""
        buffer = bytearray()
        at = start
        whole = b""
        try:
            async for chunk in body:
                buffer += chunk
                if span and at + len(buffer) > span.end:
                    del buffer[span.end - at :]  # what is beyond belongs to no file of this size
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

    async def _finish(self, whole: bytes, size: int) -> Received:
        """Make the file, of `size` bytes, of its parts, or of the bytes that are at hand."""
        replaced = await asyncio.to_thread(_exists, self._store, self._path)
        digest = hashlib.sha256()
        written = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal written
            pieces = iter([whole]) if whole else self._assembled(size)
            while (chunk := await asyncio.to_thread(next, pieces, None)) is not None:
                digest.update(chunk)
                written += len(chunk)
                yield chunk
            if written < size:
                raise NotFound("parts of the upload are gone")
            if (actual := f"sha256:{digest.hexdigest()}") != self._digest:
                sentence = f"the bytes have {actual}, but {self._digest} was announced; nothing was kept, send the file again"
                raise BadData(sentence, reason="DigestMismatch")

        try:
            await self._store.upload_stream(self._path, chunks(), size=size)
        except NotFound:
            return await self._finished_elsewhere()
        except BadData:
            await asyncio.to_thread(self._forget_parts)
            raise
        await asyncio.to_thread(self._remember_completion)
        await asyncio.to_thread(self._forget_parts)
        return Received(size, complete=True, digest=self._digest, replaced=replaced)

    async def _finished_elsewhere(self) -> Received:
        """Where the upload stands when its parts are gone: another client sent the same file, and was faster or wrong."""
        state = await asyncio.to_thread(self.state)
        if not state.complete:
            sentence = f"another upload of this file has ended meanwhile; {state.offset:,} bytes are there, go on from there"
            raise OffsetMismatch(sentence, offset=state.offset)
        await asyncio.to_thread(self._forget_parts)
        return Received(state.offset, complete=True, digest=self._digest, replaced=True)

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

    def _assembled(self, size: int) -> Iterator[bytes]:
        """The first `size` bytes; a client that sent too many once may have left parts behind them."""
        offset = 0
        for part in self._parts():
            if offset >= size:
                return
            yield from self._store.chunks(part.path)
            offset += part.bytes

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


class Sweeper:
    """Removes the parts of uploads that nobody resumed, and the notes of those that are complete for long."""

    def __init__(self, every: float = SWEEP_SECONDS) -> None:
        """
        Args:
            every: seconds between two looks at one namespace.
        """
        self._every = every
        self._looked: dict[str, float] = {}

    def sweep(self, store: Store) -> None:
        """Look at the store's namespace, if it is time."""
        now = time.monotonic()
        if now < self._looked.get(store.namespace, -self._every) + self._every:
            return
        self._looked[store.namespace] = now
        oldest = datetime.now(UTC) - KEEP_PARTS
        store.delete([entry.path for entry in store.list(UPLOADS_FOLDER) if entry.modified < oldest])


def _exists(store: Store, path: str) -> bool:
    try:
        store.head(path)
    except NotFound:
        return False
    return True


def _identity(entry: Entry) -> dict[str, object]:
    return {"bytes": entry.bytes, "modified": entry.modified.isoformat(), "tag": entry.tag}


def _empty() -> BadData:
    return BadData("the body is empty; a file has at least one byte", reason="EmptyBody")
