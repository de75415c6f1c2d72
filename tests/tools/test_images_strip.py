"""`dockerfiles/strip.py`: a library is smaller afterwards, and works."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httptools.parser.parser
import pytest
from layout import REPOSITORY

SCRIPT = REPOSITORY / "dockerfiles" / "strip.py"
# Comes with its symbol table and debug sections, 0.9 MB of 1.1, and needs no other library than its own.
LIBRARY = Path(httptools.parser.parser.__file__)
TRY = """
from httptools.parser import parser
print(parser.__file__)
parser.HttpRequestParser(object()).feed_data(b"GET / HTTP/1.1\\r\\n")
"""


def strip(folder: Path) -> str:
    return subprocess.run([sys.executable, SCRIPT, folder], check=True, capture_output=True, text=True, timeout=60).stdout


def test_a_library_works_without_what_debuggers_read(tmp_path: Path) -> None:
    package = tmp_path / "httptools"
    shutil.copytree(LIBRARY.parents[1], package)
    library = package / "parser" / LIBRARY.name
    before = library.stat().st_size
    assert strip(tmp_path).startswith("1 MB cut")
    after = library.stat().st_size
    assert after < before / 2
    done = subprocess.run([sys.executable, "-c", TRY], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    assert Path(done.stdout.strip()) == library
    strip(tmp_path)
    assert library.stat().st_size == after, "a second time changes nothing"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"INPUT(libm.so.6)\n", id="a linker's script"),
        pytest.param(b"\x7fELF\x01\x01" + bytes(500), id="a library of 32 bits"),
        pytest.param(b"\x7fELF\x02\x02" + bytes(500), id="a big-endian library"),
    ],
)
def test_what_is_no_library_of_ours_is_left_alone(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "lib.so"
    file.write_bytes(content)
    strip(tmp_path)
    assert file.read_bytes() == content
