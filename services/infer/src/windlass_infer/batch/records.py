"""A stream of text in pieces to blocks of whole records, so many in each: the partitions of a text file.

A record of JSON lines ends with its line; one of CSV with a line end outside quotes. Lines without anything are no records.
Only ends are looked for, which is several times faster than reading values: partitions that exist already cost no more.
Knows no columns. CSV: RFC 4180.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from windlass_core.errors import BadData

# A record longer than this is a quote that was never closed, or no text.
LONGEST_RECORD_BYTES = 64 * 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


@dataclass(frozen=True)
class Block:
    """Records in their order; `first` is the number of the first, counted from 0, and `end` the byte behind the last."""

    first: int
    rows: int
    data: bytes
    end: int


def blocks(pieces: Iterable[bytes], rows: int, *, quoted: bool, header: bool, name: str) -> Iterator[Block]:
    """Blocks of exactly `rows` records, and a last one of fewer.

    Args:
        pieces: the text, cut anywhere.
        rows: records of a block.
        quoted: whether line ends between double quotes are part of a record.
        header: whether the first record stands before all others: it comes first, as a block of its own with `first` -1.
        name: of the file, for messages.

    Raises:
        BadData: a record is longer than LONGEST_RECORD_BYTES.
    """
    cutter = _Cutter(quoted, name)
    first = -1 if header else 0
    for piece in pieces:
        cutter.add(piece)
        while (size := 1 if first < 0 else rows) <= cutter.records:
            yield Block(first, size, cutter.take(size), cutter.taken)
            first += size
    cutter.end()
    while cutter.records:
        size = min(1 if first < 0 else rows, cutter.records)
        yield Block(first, size, cutter.take(size), cutter.taken)
        first += size


class _Cutter:
    """Text that was added and not yet taken, with the places where its records end."""

    def __init__(self, quoted: bool, name: str) -> None:
        self._quoted = quoted
        self._name = name
        self._data = bytearray()
        self._ends: list[NDArray[np.int64]] = []  # places behind the ends of records, from the start of _data
        self._last_end = 0
        self._inside = False
        self._begun = False
        self.records = 0
        self.taken = 0

    def add(self, piece: bytes) -> None:
        if not self._begun and piece:
            self._begun = True
            piece = piece.removeprefix(BYTE_ORDER_MARK)
        start = len(self._data)
        self._data += piece
        characters = np.frombuffer(piece, dtype=np.uint8)
        newlines = np.flatnonzero(characters == _NEWLINE)
        if self._quoted:
            quotes = np.flatnonzero(characters == _QUOTE)
            inside = (np.searchsorted(quotes, newlines) + self._inside) % 2
            newlines = newlines[inside == 0]
            self._inside = bool((len(quotes) + self._inside) % 2)
        self._note(newlines + start + 1)
        if len(self._data) - self._last_end > LONGEST_RECORD_BYTES:
            why = "a quote may be open" if self._inside else "it may be no text"
            raise BadData(f"{self._name}: a line is longer than {LONGEST_RECORD_BYTES:,} bytes; {why}")

    def end(self) -> None:
        """The text is whole: what follows the last line end is a record too."""
        if len(self._data) > self._last_end:
            self._data += b"\n"
            self._note(np.array([len(self._data)]))

    def take(self, records: int) -> bytes:
        ends = np.concatenate(self._ends)
        at = int(ends[records - 1])
        taken = bytes(memoryview(self._data)[:at])
        del self._data[:at]
        self._ends = [ends[records:] - at]
        self._last_end -= at
        self.records -= records
        self.taken += at
        return taken

    def _note(self, ends: NDArray[np.int64]) -> None:
        """Note ends of records; empty lines belong to the record after them."""
        if not len(ends):
            return
        starts = np.concatenate(([self._last_end], ends[:-1]))
        self._last_end = int(ends[-1])
        lengths = ends - starts
        data = np.frombuffer(self._data, dtype=np.uint8)
        blank = (lengths == 1) | ((lengths == 2) & (data[starts] == _RETURN))
        del data  # or the text could not grow
        kept = ends[~blank]
        if len(kept):
            self._ends.append(kept)
            self.records += len(kept)
