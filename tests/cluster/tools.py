"""kubectl and helm for clusters that do not bring their own: the user's, or built from source.

Knows: where the two may be. Must not know: clusters.
"""

from __future__ import annotations

from pathlib import Path

import binaries
from layout import Layout
from shell import found

NEEDED = ("kubectl", "helm")


def ensure(layout: Layout) -> None:
    """Have both; build them when the machine lacks one."""
    if not all(map(found, NEEDED)):
        binaries.build(binaries.KUBERNETES, layout)


def folders(layout: Layout) -> tuple[Path, ...]:
    """The cache's folder when the machine lacks one of the two."""
    built = binaries.KUBERNETES.folder(layout)
    return () if all(map(found, NEEDED)) or not built.is_dir() else (built,)


def kubectl(layout: Layout) -> Path:
    """The kubectl to call."""
    return Path(found("kubectl") or binaries.KUBERNETES.folder(layout) / "kubectl")
