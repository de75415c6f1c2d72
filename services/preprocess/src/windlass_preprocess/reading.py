"""Raw files to one raw table: CSV as text in every column, JSON lines and Parquet as the types they carry.

Every complaint says which file, which line or column, and what.
"""

import json
import re
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from windlass_core.errors import BadData
from windlass_preprocess.csv_reading import read_csv
from windlass_preprocess.database import Database, literal, quoted
from windlass_preprocess.raw_table import (
    BROKEN_GZIP,
    RAW,
    RawColumn,
    RawTable,
    check_names,
    cut,
    difference,
    lines_of,
    open_text,
    raise_unreadable,
)
from windlass_preprocess.source import Format, SourceFile

# Characters of a line that is looked at for a mistake, as many as DuckDB takes in bytes: an array of objects in one line must
# not fill the memory.
LONGEST_JSON_LINE = 16 * 1024 * 1024
# What DuckDB makes of a second name that differs from another in nothing but case.
_RENAMED = re.compile(r"(.+)_\d+")


def read(database: Database, files: Sequence[SourceFile], format_: Format) -> RawTable:
    """Fill the table `raw` from all files, and remove their copies.

    Raises:
        BadData: a file is not of that format, or the files do not fit together; its reason is BadData, EmptySource or
            DuplicateColumn.
    """
    match format_:
        case "csv":
            table = read_csv(database, files)
        case "json":
            options = (
                "format = 'newline_delimited', records = true, sample_size = -1, maximum_depth = 2, union_by_name = true, "
                f"map_inference_threshold = -1, maximum_sample_files = {len(files)}"
            )
            table = _read_typed(database, files, "json", f"read_json([{{files}}], {options})")
            _refuse_renamed(database, files, [column.name for column in table.columns])
        case "parquet":
            _check_parquet_schemas(files)
            # By name and not by place, so that a column has the type that holds the values of all files.
            table = _read_typed(database, files, "parquet", "read_parquet([{files}], union_by_name = true)")
    for file in files:
        file.local.unlink()
    if table.rows == 0:
        raise BadData(f"{files[0].uri} has no rows", reason="EmptySource")
    return table


def _read_typed(database: Database, files: Sequence[SourceFile], format_: Format, reader: str) -> RawTable:
    paths = ", ".join(literal(str(file.local)) for file in files)
    try:
        database.run(f"CREATE TABLE {RAW} AS SELECT * FROM {reader.format(files=paths)}")
    except duckdb.Error as error:
        if format_ == "json":
            _raise_broken_line(error, database, files)
        raise_unreadable(error, files, "JSON, one object a line" if format_ == "json" else "Parquet")
    described = database.rows(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [RAW]
    )
    columns = tuple(RawColumn(name, quoted(name), type_) for name, type_ in described)
    check_names([column.name for column in columns], files[0])
    (rows,) = database.row(f"SELECT count(*) FROM {RAW}")
    where = files[0].uri if len(files) == 1 else f"all {len(files)} files together"
    return RawTable(format_, columns, rows, ((0, where),))


def _check_parquet_schemas(files: Sequence[SourceFile]) -> None:
    """Names that can be used, the same in all files, and types that one column can hold; the order may differ."""
    first: pa.Schema | None = None
    for file in files:
        try:
            schema = pq.read_schema(file.local)
        except (OSError, ValueError) as error:  # pyarrow's errors derive from these
            raise BadData(f"{file.uri} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
        check_names(schema.names, file)
        _refuse_case_twins(schema.names, file)
        first = schema if first is None else first
        if set(schema.names) != set(first.names):
            raise BadData(f"{file.uri} has other columns than {files[0].uri}: it {difference(schema.names, first.names)}")
        for field in schema:
            before = first.field(field.name).type
            if _family(field.type) != _family(before):
                raise BadData(f"{file.uri}: column '{field.name}' is of type {field.type}, but {before} in {files[0].uri}")


def _family(type_: pa.DataType) -> str:
    """Types between which no value changes its meaning: numbers, text, or points in time; every other is one of its own."""
    if pa.types.is_dictionary(type_):
        return _family(type_.value_type)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "numbers"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    return "time" if pa.types.is_date(type_) or pa.types.is_timestamp(type_) else str(type_)


def _refuse_case_twins(names: Sequence[str], file: SourceFile) -> None:
    lower: dict[str, str] = {}
    for name in names:
        if (twin := lower.setdefault(name.lower(), name)) != name:
            sentence = f"{file.uri}: the columns '{twin}' and '{name}' differ in nothing but case; rename one"
            raise BadData(sentence, reason="DuplicateColumn")


def _refuse_renamed(database: Database, files: Sequence[SourceFile], names: Sequence[str]) -> None:
    """Find keys that differ in nothing but case: DuckDB would make a column A_1 of the A beside an a."""
    lower = {name.lower() for name in names}
    if not any((match := _RENAMED.fullmatch(name)) and match[1].lower() in lower for name in names):
        return  # saves another look at every line
    paths = ", ".join(literal(str(file.local)) for file in files)
    objects = f"read_json_objects([{paths}], format = 'newline_delimited')"
    keys = database.rows(f"SELECT DISTINCT unnest(json_keys(json)) AS key FROM {objects} ORDER BY key")
    _refuse_case_twins([key for (key,) in keys], files[0])


def _raise_broken_line(cause: duckdb.Error, database: Database, files: Sequence[SourceFile]) -> None:
    """Name the first line that is no JSON object, if there is one; DuckDB's own count of lines is not exact."""
    for file in files:
        try:
            with open_text(file.local) as text:
                for number, line in enumerate(lines_of(text, LONGEST_JSON_LINE), start=1):
                    database.check_stop()
                    if (why := _why_no_object(line)) is not None:
                        raise BadData(f"{file.uri}: line {number} {why}: {cut(line)}") from cause
        except BROKEN_GZIP:
            return


def _why_no_object(line: str) -> str | None:
    """What is wrong with a line that should be a JSON object; None where nothing is, or where it is too long to tell."""
    if not line.strip():
        return None
    if len(line) > LONGEST_JSON_LINE:
        return None if line.lstrip().startswith("{") else "is not an object"
    try:
        return None if isinstance(json.loads(line), dict) else "is JSON, but not an object"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg}"
    except RecursionError:
        return "is nested too deeply"
