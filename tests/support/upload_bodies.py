"""A file of six parts, how a client announces it and its parts, and what is left of uploads, for tests of uploads."""

import base64
import hashlib
import os
from collections.abc import Iterator

from windlass_core.store import Store

PART = 1000
DATA = os.urandom(5 * PART + 300)


def hex_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def announced(data: bytes) -> dict[str, str]:
    return {"Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


def hashed(data: bytes) -> str:
    return f"sha256:{hex_digest(data)}"


DIGEST = hashed(DATA)


def part_of(data: bytes, start: int, end: int) -> dict[str, str]:
    return announced(data) | {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    """A body of unknown length."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def left_over(store: Store) -> list[str]:
    """Files of uploads that are kept, without notes of what was completed."""
    return [entry.path for entry in store.list("uploads") if not entry.path.endswith("/complete")]
