"""Writes the CRDs into one folder and their reference pages into another, and removes generated files of no kind there.

Usage: python -m windlass_core.crd CRDS_FOLDER REFERENCE_FOLDER
"""

import argparse
from pathlib import Path

from windlass_core.crd.definition import definitions, to_yaml
from windlass_core.crd.reference import pages


def files() -> tuple[dict[str, str], dict[str, str]]:
    """Names and texts of the CRD files, and of the reference pages."""
    crds = definitions()
    return {f"{name}.yaml": to_yaml(crd) for name, crd in crds.items()}, pages(crds.values())


def write(folder: Path, texts: dict[str, str], suffix: str) -> None:
    """Makes the folder's files with that suffix exactly these; a file that is right already is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"*{suffix}"):
        if stale.name not in texts:
            stale.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


def main() -> None:
    """Reads the two folders from the command line and writes them."""
    parser = argparse.ArgumentParser(prog="python -m windlass_core.crd", description=__doc__.splitlines()[0])
    parser.add_argument("crds", type=Path, metavar="CRDS_FOLDER", help="for example charts/windlass/files/crds")
    parser.add_argument("reference", type=Path, metavar="REFERENCE_FOLDER", help="for example docs/reference")
    folders = parser.parse_args()
    crd_texts, reference_texts = files()
    write(folders.crds, crd_texts, ".yaml")
    write(folders.reference, reference_texts, ".md")


if __name__ == "__main__":
    main()
