"""The rows of each split as Parquet files, the same bytes for the same rows, and a few of them as JSON to look at."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from windlass_core.manifests import SplitDescription
from windlass_preprocess.columns import TableColumn
from windlass_preprocess.database import Database
from windlass_preprocess.splitting import part
from windlass_preprocess.values import ColumnKind

PREVIEW_FILE = "preview.json"
# Rows of each split in the preview.
PREVIEW_ROWS = 100
# A row group is what a reader holds in memory at once: about 4 MB of numbers.
ROW_GROUP_CELLS = 500_000
ROW_GROUP_ROWS = (1024, 65_536)  # at least and at most
# So that several workers can read several files, and none is too large to copy in one piece.
PART_ROW_GROUPS = 64

_ARROW_TYPES: dict[ColumnKind, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def write_split(
    database: Database,
    columns: Sequence[TableColumn],
    *,
    which: int,
    name: str,
    folder: Path,
    written: Callable[[int], None],
) -> tuple[SplitDescription, list[dict[str, object]]]:
    """Write the rows of one split, in the order of the source, to `<folder>/<name>/part-00000.parquet` and following.

    Args:
        database: holds the rows.
        columns: to write.
        which: number of the split.
        name: its name.
        folder: of the version.
        written: called with the number of rows of each row group that was written.

    Returns:
        What the manifest says of the split, and its first rows by column name. An empty split has one file without rows.
    """
    schema = pa.schema([pa.field(column.name, _ARROW_TYPES[column.kind], nullable=column.nullable) for column in columns])
    least, most = ROW_GROUP_ROWS
    group_rows = max(least, min(most, ROW_GROUP_CELLS // len(columns)))
    selected = ", ".join(f"{column.sql}" for column in columns)
    groups = _exact(database.batches(part(which, selected), group_rows), group_rows)
    (folder / name).mkdir(parents=True)
    files: list[str] = []
    rows = 0
    preview: list[dict[str, object]] = []
    writer: pq.ParquetWriter | None = None
    try:
        for number, group in enumerate(groups):
            if number % PART_ROW_GROUPS == 0:
                writer = _next_part(writer, folder, name, schema, files)
            table = pa.table(group.columns, names=schema.names).cast(schema)
            assert writer is not None  # noqa: S101  (number 0 opens the first)
            writer.write_table(table, row_group_size=group_rows)
            preview = preview or table.slice(0, PREVIEW_ROWS).to_pylist()
            rows += table.num_rows
            written(table.num_rows)
        if writer is None:
            writer = _next_part(None, folder, name, schema, files)
    finally:
        if writer is not None:
            writer.close()
    return SplitDescription(rows=rows, files=files), preview


def write_preview(folder: Path, previews: dict[str, list[dict[str, object]]]) -> None:
    """Write the first rows of each split as JSON; dates and timestamps in ISO 8601."""
    text = json.dumps(previews, default=lambda value: value.isoformat(), ensure_ascii=False, indent=1)
    (folder / PREVIEW_FILE).write_text(text, encoding="utf-8")


def _next_part(
    before: pq.ParquetWriter | None, folder: Path, name: str, schema: pa.Schema, files: list[str]
) -> pq.ParquetWriter:
    if before is not None:
        before.close()
    files.append(f"{name}/part-{len(files):05}.parquet")
    return pq.ParquetWriter(folder / files[-1], schema, compression="zstd")


def _exact(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Tables of exactly `rows` rows and a last one of fewer: where batches end depends on the number of threads."""
    pending: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        pending.append(batch)
        held += batch.num_rows
        while held >= rows:
            table = pa.Table.from_batches(pending)
            yield table.slice(0, rows)
            rest = table.slice(rows)
            pending, held = rest.to_batches(), rest.num_rows
    if held:
        yield pa.Table.from_batches(pending)
