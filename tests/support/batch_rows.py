"""Rows for batch predictions, in every form that files give them."""

import gzip
import json
from typing import Any

import pyarrow as pa

ROWS = 25


NUMBERS = [{"a": i / 2, "b": None if i % 7 == 3 else i / 4, "c": i} for i in range(ROWS)]


COLUMNS = [
    {
        "island": "Dream" if i % 2 else "Biscoe",
        "mass": None if i == 9 else 4000.5 + i,
        "ringed": i % 3 == 0,
        "seen": f"2008-01-{i + 1:02}",
        "year": 2007,
    }
    for i in range(ROWS)
]


MODELS: dict[str, list[dict[str, Any]]] = {"numbers": NUMBERS, "columns": COLUMNS}


def csv_text(rows: list[dict[str, Any]], delimiter: str = ",", missing: str = "") -> str:
    def field(value: Any) -> str:
        return missing if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    lines = [delimiter.join(rows[0]), *(delimiter.join(field(value) for value in row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def with_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a key and with a column that no model knows."""
    return [{"id": number, "note": 'a "quoted"', **row} for number, row in enumerate(rows)]


def arrow(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    if "seen" in table.column_names:
        table = table.set_column(table.column_names.index("seen"), "seen", table["seen"].cast(pa.date32()))
    return table


def two_files(works: Any, rows: list[dict[str, Any]]) -> str:
    works.text("raw/f/b.csv", csv_text(rows[12:]))
    works.text("raw/f/a.csv", csv_text(rows[:12]))
    works.text("raw/f/_SUCCESS", "of another tool")
    return "store://raw/f/"


def compressed(works: Any, rows: list[dict[str, Any]]) -> str:
    text = csv_text(rows).encode()
    return str(works.text("raw/x.csv.gz", gzip.compress(text[:200]) + gzip.compress(text[200:])))
