"""What the readers of all formats share: the raw table and its columns, names of columns, lines of text, places in messages.

Names columns and files in the words of the store, never by the copies on the scratch disk. Knows no format.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import duckdb

from windlass_core.errors import BadData
from windlass_preprocess.source import Format, SourceFile
from windlass_preprocess.values import listed

RAW = "raw"

COLUMN_NAME_LENGTH = 256  # as long as the spec can name
_LINE_SHOWN_LENGTH = 80
# What reading a compressed file raises when it is not what its name says, or is cut short.
BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class RawColumn:
    """A column of the raw table: its name in the data, its name in SQL, and DuckDB's type."""

    name: str
    sql: str
    type: str


@dataclass(frozen=True)
class RawTable:
    """The table `raw`, in the order of the files and of their rows."""

    format: Format
    columns: tuple[RawColumn, ...]
    rows: int
    # Number of the first row of each file, with its path; one entry for all files where the reader does not tell.
    origins: tuple[tuple[int, str], ...]

    def place(self, row: int) -> str:
        """Where row `row`, counted from 0, came from, for messages; the header is not counted."""
        first, path = next(origin for origin in reversed(self.origins) if origin[0] <= row)
        return f"row {row - first + 1} of {path}"


def check_names(names: Sequence[str], file: SourceFile) -> None:
    """Raises BadData for a name that is missing, cannot be used, or is there twice (reason DuplicateColumn)."""
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name:
            raise BadData(f"{file.uri}: column {number} has no name in the header line")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise BadData(f"{file.uri}: the header line is not UTF-8")
        if len(name) > COLUMN_NAME_LENGTH or not name.isprintable():
            shown = name[:40]
            raise BadData(f"{file.uri}: column {number} has a name that cannot be used: {shown!r}")
        if name in seen:
            sentence = f"{file.uri}: two columns are named '{name}'; rename one (or is the header line missing?)"
            raise BadData(sentence, reason="DuplicateColumn")
        seen.add(name)


def difference(own: Sequence[str], names: Sequence[str]) -> str:
    """How a file's own names differ from `names`, as the end of a sentence that begins with `it`."""
    missing, extra = [name for name in names if name not in own], [name for name in own if name not in names]
    what = [f"lacks {listed(missing)}"] * bool(missing) + [f"has {listed(extra)} more"] * bool(extra)
    return " and ".join(what) or "has them in another order"


def lines_of(text: IO[str], longest: int) -> Iterator[str]:
    """The lines of a file, each cut behind `longest` characters, so that one more tells that it is longer."""
    while line := text.readline(longest + 1):
        yield line
        while len(line) > longest and not line.endswith("\n"):
            line = text.readline(longest + 1)


def is_compressed(path: Path) -> bool:
    """Whether the name says gzip."""
    return path.name.lower().endswith(".gz")


def open_text(path: Path) -> IO[str]:
    """The file as text, uncompressed; bytes that are no UTF-8 become surrogates, for they may lie beyond what is looked at."""
    if is_compressed(path):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def cut(line: str) -> str:
    """A line for a message."""
    text = line.split("\n", 1)[0].strip()
    return text if len(text) <= _LINE_SHOWN_LENGTH else f"{text[:_LINE_SHOWN_LENGTH]}…"


def raise_unreadable(error: duckdb.Error, files: Sequence[SourceFile], what: str) -> NoReturn:
    """DuckDB's sentence without its hints, and with the files' names in the store."""
    sentence = str(error).strip().splitlines()[0].strip()
    for prefix in ("Invalid Input Error: ", "IO Error: ", "Binder Error: ", "Conversion Error: "):
        sentence = sentence.removeprefix(prefix)
    for file in files:
        sentence = sentence.replace(str(file.local), file.uri)
    named = "" if any(file.uri in sentence for file in files) else f"{files[0].uri}: "
    raise BadData(f"{named}cannot be read as {what}: {sentence}") from error
