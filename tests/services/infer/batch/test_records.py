"""Text that is cut anywhere becomes the same whole records."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass_core.errors import BadData
from windlass_infer.batch import records
from windlass_infer.batch.records import blocks


def cut(text: bytes, rows: int, *, quoted: bool = True, header: bool = False, size: int = 3) -> list[tuple[int, int, bytes]]:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return [(block.first, block.rows, block.data) for block in blocks(pieces, rows, quoted=quoted, header=header, name="f")]


TABLE = {
    "no text has no block": (b"", False, []),
    "each block has so many records, the last the rest": (b"1\n2\n3\n", False, [(0, 2, b"1\n2\n"), (2, 1, b"3\n")]),
    "a last line without its end is a record": (b"1\n2\n3", False, [(0, 2, b"1\n2\n"), (2, 1, b"3\n")]),
    "empty lines are no records": (b"\n1\n\r\n\n2\n\n", False, [(0, 2, b"\n1\n\r\n\n2\n")]),
    "a line end in quotes ends no record": (b'"1\n2\n",x\n3\n4', False, [(0, 2, b'"1\n2\n",x\n3\n'), (2, 1, b"4\n")]),
    "a doubled quote is no end of quotes": (b'"1""\n2"\n3\n', False, [(0, 2, b'"1""\n2"\n3\n')]),
    "the header is a block of its own": (b"a\n1\n2\n3\n", True, [(-1, 1, b"a\n"), (0, 2, b"1\n2\n"), (2, 1, b"3\n")]),
    "a header alone has no rows": (b"a", True, [(-1, 1, b"a\n")]),
    "a byte order mark is not text": (b"\xef\xbb\xbfa\n1\n", True, [(-1, 1, b"a\n"), (0, 1, b"1\n")]),
}


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize(("text", "header", "expected"), TABLE.values(), ids=TABLE)
def test_blocks(text: bytes, header: bool, expected: list[tuple[int, int, bytes]], size: int) -> None:
    assert cut(text, 2, header=header, size=size) == expected


def test_a_line_of_json_ends_within_quotes_too() -> None:
    assert [rows for _, rows, _ in cut(b'{"a": "\n"}\n', 1, quoted=False)] == [1, 1]


def test_a_record_without_end_is_refused_with_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD_BYTES", 10)
    with pytest.raises(BadData, match=r"f: a line is longer than 10 bytes; a quote may be open"):
        cut(b'1\n"2\n3\n4\n5\n6\n7\n8\n', 2)


@given(
    rows=st.lists(st.lists(st.text(alphabet='a,"\n', min_size=1, max_size=4), min_size=2, max_size=2), max_size=12),
    size=st.integers(1, 20),
    count=st.integers(1, 5),
)
def test_whatever_stands_in_quotes_blocks_hold_the_rows_that_python_reads(rows: list[list[str]], size: int, count: int) -> None:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    found = cut(written.getvalue().encode(), count, size=size)
    read = [list(csv.reader(io.StringIO(data.decode(), newline=""))) for _, _, data in found]
    assert [row for block in read for row in block] == rows
    assert [len(block) for block in read] == [given for _, given, _ in found]
    assert [first for first, _, _ in found] == list(range(0, len(rows), count))
