"""Raw files to one raw table: CSV as text in every column, JSON lines and Parquet as the types they carry.

CSV follows RFC 4180: UTF-8, a header line, `"` as the quote; the delimiter is the one of , ; | and tab that splits the header
into most names. Every complaint says which file, which line and what. Types of CSV columns are `columns.py`'s business.
"""

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import duckdb
import pyarrow.parquet as pq

from windlass_core.errors import BadData
from windlass_core.store import URI_SCHEME
from windlass_preprocess.database import Database, literal, quoted
from windlass_preprocess.source import Format, SourceFile
from windlass_preprocess.values import listed

RAW = "raw"

COLUMN_NAME_LENGTH = 256  # as long as the spec can name
# Faulty lines that are looked for in a file before giving up on it, and that a message shows.
REJECTS_LIMIT = 1000
REJECTS_SHOWN = 3
_LINE_SHOWN_LENGTH = 80
_DELIMITERS = ",;\t|"
_WHY_REJECTED = {
    "MISSING COLUMNS": "has fewer values than the header has names",
    "TOO MANY COLUMNS": "has more values than the header has names",
    "UNQUOTED VALUE": "opens a quote that is never closed",
    "INVALID ENCODING": "is not UTF-8",
    "LINE SIZE OVER MAXIMUM": "is longer than 2 MB",
}


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


def read(database: Database, files: Sequence[SourceFile], format_: Format) -> RawTable:
    """Fill the table `raw` from all files, and remove their copies.

    Raises:
        BadData: a file is not of that format, or the files do not fit together; its reason is BadData, EmptySource or
            DuplicateColumn.
    """
    match format_:
        case "csv":
            table = _read_csv(database, files)
        case "json":
            options = (
                "format = 'newline_delimited', records = true, sample_size = -1, maximum_depth = 2, union_by_name = true, "
                f"map_inference_threshold = -1, maximum_sample_files = {len(files)}"
            )
            table = _read_typed(database, files, "json", f"read_json([{{files}}], {options})")
        case "parquet":
            _check_parquet_names(files)
            table = _read_typed(database, files, "parquet", "read_parquet([{files}])")
    for file in files:
        file.local.unlink()
    if table.rows == 0:
        raise BadData(f"{_uri(files[0])} has no rows", reason="EmptySource")
    return table


def _read_csv(database: Database, files: Sequence[SourceFile]) -> RawTable:
    names, delimiter = _header(files[0])
    columns = tuple(RawColumn(name, f"c{number}", "VARCHAR") for number, name in enumerate(names))
    database.run(f"CREATE TABLE {RAW} ({', '.join(f'{column.sql} VARCHAR' for column in columns)})")
    origins: list[tuple[int, str]] = []
    rows = 0
    for file in files:
        _check_same_header(file, names, files[0])
        origins.append((rows, _uri(file)))
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
        _raise_unreadable(error, [file], "CSV")
    rejected = database.rows("SELECT DISTINCT line, error_type, csv_line FROM reject_errors ORDER BY line")
    database.run("DROP TABLE reject_errors")
    database.run("DROP TABLE reject_scans")
    if rejected:
        raise BadData(_rejection(file, rejected))


def _rejection(file: SourceFile, rejected: Sequence[tuple[int, str, str | None]]) -> str:
    sentences = []
    for line, kind, text in rejected[:REJECTS_SHOWN]:
        sentences.append(f"line {line} {_WHY_REJECTED.get(kind, kind.lower())}: {_cut(text or '')}")
    at_least = "at least " if len(rejected) >= REJECTS_LIMIT else ""
    more = f" ({at_least}{len(rejected):,} such lines)" if len(rejected) > REJECTS_SHOWN else ""
    return f"{_uri(file)}: {'; '.join(sentences)}{more}"


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
        raise BadData(f"{_uri(file)} has no header line; its first line must name the columns", reason="EmptySource")
    _check_names(best, file)
    return best, delimiter


def _first_record(file: SourceFile, delimiter: str) -> list[str]:
    try:
        with _open_text(file.local) as text:
            return next(csv.reader(text, delimiter=delimiter), [])
    except (csv.Error, gzip.BadGzipFile, EOFError) as error:
        raise BadData(f"{_uri(file)} cannot be read as CSV: {error}") from error


def _open_text(path: Path) -> IO[str]:
    # Bytes that are no UTF-8 are let through as surrogates: here they may lie beyond the line that is looked at.
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _check_names(names: Sequence[str], file: SourceFile) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name:
            raise BadData(f"{_uri(file)}: column {number} has no name in the header line")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise BadData(f"{_uri(file)}: the header line is not UTF-8")
        if len(name) > COLUMN_NAME_LENGTH or not name.isprintable():
            shown = name[:40]
            raise BadData(f"{_uri(file)}: column {number} has a name that cannot be used: {shown!r}")
        if name in seen:
            sentence = f"{_uri(file)}: two columns are named '{name}'; rename one (or is the header line missing?)"
            raise BadData(sentence, reason="DuplicateColumn")
        seen.add(name)


def _check_same_header(file: SourceFile, names: Sequence[str], first: SourceFile) -> None:
    own, _ = _header(file)
    if own != list(names):
        missing, extra = [name for name in names if name not in own], [name for name in own if name not in names]
        what = [f"lacks {listed(missing)}"] * bool(missing) + [f"has {listed(extra)} more"] * bool(extra)
        difference = " and ".join(what) or "has them in another order"
        raise BadData(f"{_uri(file)} has other columns than {_uri(first)}: it {difference}")


def _check_parquet_names(files: Sequence[SourceFile]) -> None:
    for file in files:
        try:
            names = pq.read_schema(file.local).names
        except (OSError, ValueError) as error:  # pyarrow's errors derive from these
            raise BadData(f"{_uri(file)} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
        _check_names(names, file)
        _refuse_case_twins(names, file)


def _refuse_case_twins(names: Sequence[str], file: SourceFile) -> None:
    lower: dict[str, str] = {}
    for name in names:
        if (twin := lower.setdefault(name.lower(), name)) != name:
            sentence = f"{_uri(file)}: the columns '{twin}' and '{name}' differ in nothing but case; rename one"
            raise BadData(sentence, reason="DuplicateColumn")


def _read_typed(database: Database, files: Sequence[SourceFile], format_: Format, reader: str) -> RawTable:
    paths = ", ".join(literal(str(file.local)) for file in files)
    try:
        database.run(f"CREATE TABLE {RAW} AS SELECT * FROM {reader.format(files=paths)}")
    except duckdb.Error as error:
        if format_ == "json":
            _raise_broken_line(error, files)
        _raise_unreadable(error, files, "JSON, one object a line" if format_ == "json" else "Parquet")
    described = database.rows(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [RAW]
    )
    columns = tuple(RawColumn(name, quoted(name), type_) for name, type_ in described)
    _check_names([column.name for column in columns], files[0])
    (rows,) = database.row(f"SELECT count(*) FROM {RAW}")
    where = _uri(files[0]) if len(files) == 1 else f"all {len(files)} files together"
    return RawTable(format_, columns, rows, ((0, where),))


def _raise_broken_line(cause: duckdb.Error, files: Sequence[SourceFile]) -> None:
    """Name the first line that is no JSON object, if there is one; DuckDB's own count of lines is not exact."""
    for file in files:
        try:
            with _open_text(file.local) as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip() and not isinstance(json.loads(line), dict):
                        raise BadData(f"{_uri(file)}: line {number} is JSON, but not an object: {_cut(line)}") from cause
        except json.JSONDecodeError as error:
            raise BadData(f"{_uri(file)}: line {number} is not JSON: {error.msg}: {_cut(line)}") from cause
        except (gzip.BadGzipFile, EOFError):
            return


def _cut(line: str) -> str:
    text = line.split("\n", 1)[0].strip()
    return text if len(text) <= _LINE_SHOWN_LENGTH else f"{text[:_LINE_SHOWN_LENGTH]}…"


def _raise_unreadable(error: duckdb.Error, files: Sequence[SourceFile], what: str) -> NoReturn:
    """DuckDB's sentence without its hints, and with the files' names in the store."""
    sentence = str(error).strip().splitlines()[0].strip()
    for prefix in ("Invalid Input Error: ", "IO Error: ", "Binder Error: ", "Conversion Error: "):
        sentence = sentence.removeprefix(prefix)
    for file in files:
        sentence = sentence.replace(str(file.local), _uri(file))
    named = "" if any(_uri(file) in sentence for file in files) else f"{_uri(files[0])}: "
    raise BadData(f"{named}cannot be read as {what}: {sentence}") from error


def _uri(file: SourceFile) -> str:
    return f"{URI_SCHEME}{file.path}"
