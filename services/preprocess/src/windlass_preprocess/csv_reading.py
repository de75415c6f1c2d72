"""CSV files to the raw table, as text in every column.

CSV follows RFC 4180: UTF-8, a header line, `"` as the quote; the delimiter is the one of , ; | and tab that splits the header
into most names. Every complaint says which file, which line and what. Types are `columns.py`'s business.
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import duckdb

from windlass_core.errors import BadData
from windlass_preprocess.database import Database, literal
from windlass_preprocess.raw_table import (
    BROKEN_GZIP,
    RAW,
    RawColumn,
    RawTable,
    check_names,
    cut,
    difference,
    is_compressed,
    lines_of,
    open_text,
    raise_unreadable,
)
from windlass_preprocess.source import SourceFile

# Faulty lines that are looked for in a file before giving up on it, and that a message shows.
REJECTS_LIMIT = 1000
REJECTS_SHOWN = 3
# Characters of a header line, as many as DuckDB takes in bytes: a file without line ends must not fill the memory.
LONGEST_LINE = 2_000_000
# Of a file that is searched for line ends, in bytes.
_COUNTED_BYTES = 1024 * 1024
_DELIMITERS = ",;\t|"
_WHY_REJECTED = {
    "MISSING COLUMNS": "has fewer values than the header has names",
    "TOO MANY COLUMNS": "has more values than the header has names",
    "UNQUOTED VALUE": "opens a quote that is never closed",
    "INVALID ENCODING": "is not UTF-8",
    "LINE SIZE OVER MAXIMUM": "is longer than 2 MB",
}


def read_csv(database: Database, files: Sequence[SourceFile]) -> RawTable:
    """Fill the table `raw`. Raises BadData; see `reading.read`."""
    names, delimiter = _header(files[0])
    columns = tuple(RawColumn(name, f"c{number}", "VARCHAR") for number, name in enumerate(names))
    database.run(f"CREATE TABLE {RAW} ({', '.join(f'{column.sql} VARCHAR' for column in columns)})")
    origins: list[tuple[int, str]] = []
    rows = 0
    for file in files:
        _check_same_header(file, names, delimiter, files[0])
        origins.append((rows, file.uri))
        _insert_csv(database, file, columns, delimiter)
        (rows,) = database.row(f"SELECT count(*) FROM {RAW}")
    return RawTable("csv", columns, rows, tuple(origins))


def _insert_csv(database: Database, file: SourceFile, columns: Sequence[RawColumn], delimiter: str) -> None:
    types = ", ".join(f"{literal(column.sql)}: 'VARCHAR'" for column in columns)
    options = (
        f"auto_detect = false, header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{types}}}, store_rejects = true, rejects_limit = {REJECTS_LIMIT}"
    )
    try:
        database.run(f"INSERT INTO {RAW} SELECT * FROM read_csv({literal(str(file.local))}, {options})")
    except duckdb.Error as error:
        raise_unreadable(error, [file], "CSV")
    rejected = database.rows(
        "SELECT DISTINCT line, line_byte_position, error_type, csv_line FROM reject_errors ORDER BY line_byte_position, line"
    )
    database.run("DROP TABLE reject_errors")
    database.run("DROP TABLE reject_scans")
    if rejected:
        raise BadData(_rejection(file, rejected))


def _rejection(file: SourceFile, rejected: Sequence[tuple[int, int | None, str, str | None]]) -> str:
    sentences = []
    for line, position, kind, given in rejected[:REJECTS_SHOWN]:
        # DuckDB's text begins with the line ends before it, of Windows and of empty lines.
        text = (given or "").lstrip("\r\n")
        skipped = (given or "").removesuffix(text).count("\n")
        # DuckDB counts rows, and a row may have line ends in quotes.
        number = _line_at(file.local, position - 1) + skipped if position else line
        sentences.append(f"line {number} {_WHY_REJECTED.get(kind, kind.lower())}: {cut(text)}")
    at_least = "at least " if len(rejected) >= REJECTS_LIMIT else ""
    more = f" ({at_least}{len(rejected):,} such lines)" if len(rejected) > REJECTS_SHOWN else ""
    return f"{file.uri}: {'; '.join(sentences)}{more}"


def _line_at(path: Path, position: int) -> int:
    """Number of the line, counted from 1, in which the byte at `position` of the uncompressed file stands."""
    ends = 0
    with gzip.open(path) if is_compressed(path) else path.open("rb") as file:
        while position > 0 and (read := file.read(min(position, _COUNTED_BYTES))):
            ends += read.count(b"\n")
            position -= len(read)
    return ends + 1


def _header(file: SourceFile) -> tuple[list[str], str]:
    """Names in the header line, and the delimiter between them."""
    best: list[str] = []
    delimiter = _DELIMITERS[0]
    for candidate in _DELIMITERS:
        names = _first_record(file, candidate)
        if len(names) > len(best):
            best, delimiter = names, candidate
    best = [name.strip() for name in best]
    if not any(best):
        raise BadData(f"{file.uri} has no header line; its first line must name the columns", reason="EmptySource")
    check_names(best, file)
    return best, delimiter


def _first_record(file: SourceFile, delimiter: str) -> list[str]:
    try:
        with open_text(file.local) as text:
            return next(csv.reader(lines_of(text, LONGEST_LINE), delimiter=delimiter), [])
    except (csv.Error, *BROKEN_GZIP) as error:
        raise BadData(f"{file.uri} cannot be read as CSV: {error}") from error


def _check_same_header(file: SourceFile, names: Sequence[str], delimiter: str, first: SourceFile) -> None:
    own, own_delimiter = _header(file)
    if own != list(names):
        raise BadData(f"{file.uri} has other columns than {first.uri}: it {difference(own, names)}")
    if own_delimiter != delimiter:
        raise BadData(f"{file.uri} has {own_delimiter!r} between its values, but {first.uri} has {delimiter!r}")
