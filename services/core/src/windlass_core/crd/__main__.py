"""Writes the CRDs into one folder and their reference pages into another, and removes there what belongs to no kind any more.

Usage: python -m windlass_core.crd [--check] CRDS_FOLDER REFERENCE_FOLDER
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from windlass_core.crd.definition import definitions, to_yaml
from windlass_core.crd.reference import pages


def wanted(crds_folder: Path, reference_folder: Path) -> dict[Path, str]:
    """Every generated file and its text."""
    crds = definitions()
    texts = {crds_folder / f"{name}.yaml": to_yaml(crd) for name, crd in crds.items()}
    return texts | {reference_folder / name: text for name, text in pages(crds.values()).items()}


def differences(files: dict[Path, str]) -> Iterator[Path]:
    """Files that are not as wanted: missing, different, or of the same folder and suffix but of no kind."""
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path
    for folder, suffix in sorted({(path.parent, path.suffix) for path in files}):
        yield from sorted(set(folder.glob(f"*{suffix}")) - files.keys())


def write(files: dict[Path, str]) -> None:
    """Makes the folders hold exactly these files; one that is right already is not touched."""
    for path in list(differences(files)):
        if path not in files:
            path.unlink()
            print(f"removed {path}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
        print(f"wrote {path}")


def main() -> int:
    """Reads the command line; 1 when --check finds a file that is not current."""
    parser = argparse.ArgumentParser(prog="python -m windlass_core.crd", description=__doc__.splitlines()[0])
    parser.add_argument("crds", type=Path, metavar="CRDS_FOLDER", help="for example charts/windlass/files/crds")
    parser.add_argument("reference", type=Path, metavar="REFERENCE_FOLDER", help="for example docs/reference")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail when a file is not current")
    arguments = parser.parse_args()
    files = wanted(arguments.crds, arguments.reference)
    if not arguments.check:
        write(files)
        return 0
    stale = list(differences(files))
    for path in stale:
        print(f"{path} is not what the models say; run: make generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
