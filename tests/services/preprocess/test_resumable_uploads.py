"""What becomes of parts: of clients that are overtaken, that send too much, that never come back."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from upload_bodies import DATA, DIGEST, PART, hashed, left_over

from windlass_core.errors import BadData
from windlass_core.store import Store
from windlass_preprocess import uploads
from windlass_preprocess.uploads import OffsetMismatch, ResumableUpload, Span, Sweeper


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 1,000 bytes, so that a file of 5,300 has six."""
    monkeypatch.setattr(uploads, "PART_BYTES", PART)


def test_what_nobody_resumed_is_removed_once_in_a_while(tmp_path: Path) -> None:
    store = Store.open("default", {"WINDLASS_STORE_URL": f"file://{tmp_path}"})
    store.write("uploads/aa/bb/00000000000000000000", b"old")
    store.write("uploads/aa/cc/00000000000000000000", b"young")
    old = (datetime.now(UTC) - uploads.KEEP_PARTS - timedelta(hours=1)).timestamp()
    os.utime(tmp_path / "default/uploads/aa/bb/00000000000000000000", (old, old))
    sweeper = Sweeper()
    sweeper.sweep(store)
    assert left_over(store) == ["uploads/aa/cc/00000000000000000000"]
    os.utime(tmp_path / "default/uploads/aa/cc/00000000000000000000", (old, old))
    sweeper.sweep(store)
    assert left_over(store) == ["uploads/aa/cc/00000000000000000000"], "not again at once"
    Sweeper(every=0).sweep(store)
    assert left_over(store) == []


async def in_one_go(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_a_client_that_is_overtaken_by_another_with_the_same_file_is_told_that_it_is_there(store: Store) -> None:
    """Both have sent most of it when the first one ends; its parts are those of the other too."""

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[: 3 * PART]
        fast = await ResumableUpload(store, "raw/x", DIGEST).receive(in_one_go(DATA), None)
        assert fast.complete
        yield DATA[3 * PART :]

    received = asyncio.run(ResumableUpload(store, "raw/x", DIGEST).receive(slow(), None))
    assert (received.complete, received.offset) == (True, len(DATA))
    assert store.read("raw/x") == DATA
    assert left_over(store) == []


def test_a_client_whose_parts_another_made_go_is_told_where_to_go_on(store: Store) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield DATA[: 3 * PART]
        with pytest.raises(BadData, match="was announced"):
            await ResumableUpload(store, "raw/x", DIGEST).receive(in_one_go(bytes(len(DATA))), None)
        yield DATA[3 * PART :]

    with pytest.raises(OffsetMismatch) as raised:
        asyncio.run(ResumableUpload(store, "raw/x", DIGEST).receive(slow(), None))
    assert raised.value.offset == 0
    assert asyncio.run(ResumableUpload(store, "raw/x", DIGEST).receive(in_one_go(DATA), None)).complete


def test_what_was_sent_beyond_a_file_does_not_spoil_it(store: Store) -> None:
    upload = ResumableUpload(store, "raw/x", hashed(DATA[: 3 * PART]))
    whole = Span(0, 3 * PART, 3 * PART)
    with pytest.raises(BadData, match="longer than the 3,000 bytes"):
        asyncio.run(upload.receive(in_one_go(DATA), whole))
    assert upload.state().offset == 3 * PART
    # As a client without Content-Range may have left them.
    store.write(upload._part(3 * PART), b"beyond")
    assert asyncio.run(upload.receive(in_one_go(DATA[: 3 * PART]), whole)).complete
    assert store.read("raw/x") == DATA[: 3 * PART]


def test_another_file_of_the_same_size_and_second_is_not_taken_for_the_uploaded_one(store: Store) -> None:
    upload = ResumableUpload(store, "raw/x", DIGEST)
    asyncio.run(upload.receive(in_one_go(DATA), None))
    assert upload.state().complete
    store.write("raw/x", bytes(reversed(DATA)))
    assert not upload.state().complete
