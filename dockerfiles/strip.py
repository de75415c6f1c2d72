"""Cut from the compiled libraries of a folder what only debuggers and linkers read: the symbol table and debug sections.

What brings a library into memory, the loader, follows its program headers alone, and compilers put what these do not name at
the end of the file. The `strip` of binutils does the same and more, but no slim image has it. Knows no package.

    python3 strip.py /opt/windlass/lib
"""

import struct
import sys
from pathlib import Path

# The first bytes of an ELF file of 64 bits, little-endian, as all platforms are that wheels of ours exist for.
IDENTIFICATION = b"\x7fELF\x02\x01"
HEADER_BYTES, PROGRAM_HEADER_BYTES = 64, 56
# Offsets and forms of fields as <elf.h> has them. Of the header: where the program headers are, and how many.
PROGRAM_HEADERS_AT, PROGRAM_HEADERS = (32, "<Q"), (56, "<H")
# Of the header: where the sections' table is, how many there are, and which holds their names. Zero says that there are none.
SECTION_FIELDS = ((40, "<Q"), (60, "<H"), (62, "<H"))
# Of a program header: where in the file its part begins, and its size there.
PART_AT, PART_BYTES = (8, "<Q"), (32, "<Q")


def strip(path: Path) -> int:
    """Cut one file if it is a library of the kind described above, and leave any other alone.

    Returns:
        Bytes that it is shorter.
    """
    with path.open("r+b") as file:
        header = bytearray(file.read(HEADER_BYTES))
        if len(header) < HEADER_BYTES or not header.startswith(IDENTIFICATION):
            return 0
        end = _loaded_end(header, path)
        size = path.stat().st_size
        if end >= size:
            return 0
        for place, form in SECTION_FIELDS:
            struct.pack_into(form, header, place, 0)
        file.truncate(end)
        file.seek(0)
        file.write(header)
    return size - end


def _loaded_end(header: bytearray, path: Path) -> int:
    """Bytes of the file up to the end of the last part that a program header names."""
    table, count = _field(header, PROGRAM_HEADERS_AT), _field(header, PROGRAM_HEADERS)
    end = table + count * PROGRAM_HEADER_BYTES
    with path.open("rb") as file:
        file.seek(table)
        for _ in range(count):
            part = file.read(PROGRAM_HEADER_BYTES)
            end = max(end, _field(part, PART_AT) + _field(part, PART_BYTES))
    return end


def _field(data: bytes | bytearray, place: tuple[int, str]) -> int:
    offset, form = place
    return int(struct.unpack_from(form, data, offset)[0])


if __name__ == "__main__":
    libraries = [path for path in Path(sys.argv[1]).rglob("*.so*") if path.is_file() and not path.is_symlink()]
    sys.stdout.write(f"{sum(map(strip, libraries)) / 1e6:.0f} MB cut from {len(libraries)} libraries\n")
