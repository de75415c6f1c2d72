"""The files of a run as partitions: so many rows of the columns that are needed, as arrays of Arrow or, from JSON, as lists.

CSV gives text in every column, JSON lines what JSON has, Parquet its own types. Partitions that are done are passed over: of
text only the ends of lines are looked for, of Parquet no row group is read without need. Memory holds one partition, and of
Parquet one row group's pages. Every complaint names the file and the row, counted from 1 without the header.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from windlass_core.errors import BadData
from windlass_infer.batch.inputs import Inputs
from windlass_infer.batch.plan import Plan, PlannedFile
from windlass_infer.batch.records import Block, blocks
from windlass_infer.predictor import listed

Column: TypeAlias = "pa.ChunkedArray | list[Any]"
Columns: TypeAlias = Mapping[str, Column]

_DELIMITERS = ",;\t|"
_LINE_SHOWN = 80


@dataclass(frozen=True, order=True)
class Place:
    """Where a partition stands: number of its file, its own number there, its first row counted from 0, and its rows."""

    file: int
    number: int
    first: int
    rows: int


@dataclass(frozen=True)
class Partition:
    """Rows of one file."""

    place: Place
    columns: Columns


class Reader:
    """Reads a run's partitions in order.

    Attributes:
        places: of all partitions seen so far, those that were passed over among them.
        fraction: of the bytes of all files, about how much was read or passed over.
        fraction_passed_over: that before the first partition that was not done.
    """

    def __init__(self, inputs: Inputs, plan: Plan, columns: Sequence[str], is_done: Callable[[int, int], bool]) -> None:
        """
        Args:
            inputs: the files.
            plan: of the run.
            columns: names of those that are needed.
            is_done: whether partition `number` of file `file` is to be passed over.
        """
        self._inputs = inputs
        self._plan = plan
        self._columns = list(columns)
        self._is_done = is_done
        self._bytes = sum(file.bytes for file in plan.files)
        self._bytes_before = 0
        self.places: list[Place] = []
        self.fraction = 0.0
        self.fraction_passed_over: float | None = None

    def partitions(self) -> Iterator[Partition]:
        """Those that are not done.

        Raises:
            BadData: a file cannot be read, or lacks a column that is needed.
        """
        read = {"csv": self._csv, "json": self._json, "parquet": self._parquet}[self._plan.format]
        for number, file in enumerate(self._plan.files):
            yield from read(number, file)
            self._bytes_before += file.bytes

    def _next(self, file: int, first: int, rows: int, bytes_read: float) -> tuple[Place, bool]:
        """The place of the next partition, and whether it is to be read; so many bytes of the file were read up to its end."""
        place = Place(file, first // self._plan.partition_rows, first, rows)
        self.places.append(place)
        wanted = not self._is_done(file, place.number)
        if wanted and self.fraction_passed_over is None:
            self.fraction_passed_over = self.fraction
        self.fraction = min(1.0, (self._bytes_before + bytes_read) / self._bytes)
        return place, wanted

    def _share(self, block: Block) -> float:
        """Bytes of the file up to the end of a block, some of which may be compressed."""
        return self._inputs.bytes_read * block.end / max(1, self._inputs.bytes_unpacked)

    def _csv(self, number: int, file: PlannedFile) -> Iterator[Partition]:
        name = self._plan.uri(file)
        names: list[str] = []
        delimiter = ","
        text = blocks(self._inputs.text(file), self._plan.partition_rows, quoted=True, header=True, name=name)
        for block in text:
            if block.first < 0:
                names, delimiter = _header(block.data, name)
                self._check_columns(names, name)
                continue
            place, wanted = self._next(number, block.first, block.rows, self._share(block))
            if wanted:
                yield Partition(place, _csv_columns(block, names, delimiter, self._columns, name))

    def _json(self, number: int, file: PlannedFile) -> Iterator[Partition]:
        name = self._plan.uri(file)
        text = blocks(self._inputs.text(file), self._plan.partition_rows, quoted=False, header=False, name=name)
        for block in text:
            place, wanted = self._next(number, block.first, block.rows, self._share(block))
            if wanted:
                rows = _objects(block, name)
                yield Partition(place, {column: [row.get(column) for row in rows] for column in self._columns})

    def _parquet(self, number: int, file: PlannedFile) -> Iterator[Partition]:
        name = self._plan.uri(file)
        local = self._inputs.local(file, next(iter(self._plan.files[number + 1 :]), None))
        try:
            with pq.ParquetFile(local) as parquet:
                self._check_columns(parquet.schema_arrow.names, name)
                yield from self._ranges(number, file, parquet)
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
        finally:
            local.unlink(missing_ok=True)

    def _ranges(self, number: int, file: PlannedFile, parquet: pq.ParquetFile) -> Iterator[Partition]:
        """Partitions by their ranges of rows; decoding begins anew behind those that are done."""
        size, rows = self._plan.partition_rows, parquet.metadata.num_rows
        source: _Rows | None = None
        for first in range(0, rows, size):
            count = min(size, rows - first)
            place, wanted = self._next(number, first, count, file.bytes * (first + count) / rows)
            if not wanted:
                source = None
                continue
            source = source or _Rows(parquet, self._columns, first, size)
            table = source.take(place.rows)
            yield Partition(place, {column: table.column(column) for column in self._columns})

    def _check_columns(self, names: Sequence[str], file: str) -> None:
        if missing := [column for column in self._columns if column not in names]:
            raise BadData(f"{file} has no column '{missing[0]}'; it has {listed(list(names))}", reason="ColumnNotFound")
        if twice := [column for column in self._columns if list(names).count(column) > 1]:
            raise BadData(f"{file} has two columns '{twice[0]}'; rename one", reason="DuplicateColumn")


class _Rows:
    """The rows of a Parquet file from some row on, in tables of any size."""

    def __init__(self, parquet: pq.ParquetFile, columns: Sequence[str], first: int, batch_rows: int) -> None:
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.metadata.num_row_groups)]
        start = group = 0
        while start + sizes[group] <= first:
            start += sizes[group]
            group += 1
        groups = list(range(group, len(sizes)))
        batches = parquet.iter_batches(batch_size=batch_rows, row_groups=groups, columns=list(columns), use_threads=False)
        self._batches: Iterator[pa.RecordBatch] = batches
        self._held: list[pa.RecordBatch] = []
        self._rows = 0
        if first > start:
            self.take(first - start)

    def take(self, rows: int) -> pa.Table:
        while self._rows < rows:
            self._held.append(next(self._batches))
            self._rows += self._held[-1].num_rows
        table = pa.Table.from_batches(self._held)
        rest = table.slice(rows)
        self._held, self._rows = rest.to_batches(), rest.num_rows
        return table.slice(0, rows)


def _header(line: bytes, file: str) -> tuple[list[str], str]:
    """Names in the header line, and the delimiter: the one that splits it into most names."""
    try:
        text = line.decode()
        found = [(next(csv.reader([text], delimiter=delimiter), []), delimiter) for delimiter in _DELIMITERS]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"the header line of {file} cannot be read as CSV: {error}") from error
    names, delimiter = max(found, key=lambda pair: len(pair[0]))
    return [name.strip() for name in names], delimiter


def _csv_columns(block: Block, names: Sequence[str], delimiter: str, columns: Sequence[str], file: str) -> Columns:
    """The columns as text; a field without anything is no value."""
    faults: list[arrow_csv.InvalidRow] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        faults.append(row)
        return "skip"

    unique = [str(number) for number in range(len(names))]  # other columns may have one name twice
    wanted = [unique[list(names).index(column)] for column in columns]
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(block.data),
            # On one thread, or rows are not numbered; of one block, because values may hold line ends.
            read_options=arrow_csv.ReadOptions(column_names=unique, use_threads=False, block_size=max(len(block.data), 1)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        rows = f"rows {block.first + 1} to {block.first + block.rows}"
        raise BadData(f"{rows} of {file} cannot be read as CSV: {str(error).splitlines()[0]}") from error
    if faults:
        fault = faults[0]
        given, expected = fault.actual_columns, fault.expected_columns
        place = f"row {block.first + fault.number} of {file}"
        raise BadData(f"{place} has {given} values, but the header has {expected} names: {_cut(fault.text)}")
    if table.num_rows != block.rows:
        rows = f"rows {block.first + 1} to {block.first + block.rows}"
        raise BadData(f"{rows} of {file}: a quote stands within a value or is never closed, so rows cannot be told apart")
    return {column: table.column(name) for column, name in zip(columns, wanted, strict=True)}


def _objects(block: Block, file: str) -> list[dict[str, Any]]:
    lines = [line for line in block.data.split(b"\n") if line.rstrip(b"\r")]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=block.first + 1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BadData(f"row {number} of {file} is not JSON: {error.msg}: {_cut(line.decode(errors='replace'))}") from error
        if not isinstance(row, dict):
            raise BadData(f"row {number} of {file} is JSON, but not an object: {_cut(line.decode(errors='replace'))}")
        rows.append(row)
    return rows


def _cut(line: str) -> str:
    text = line.strip()
    return text if len(text) <= _LINE_SHOWN else f"{text[:_LINE_SHOWN]}…"
