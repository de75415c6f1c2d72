"""Shell code for a user's own shell, so that kubectl and helm find the cluster.

Pure: from paths to text.
"""

from __future__ import annotations

import shlex
from pathlib import Path


def exports(kubeconfig: Path, program_folders: tuple[Path, ...]) -> str:
    """Lines to `eval` in any POSIX shell."""
    lines = [f"export KUBECONFIG={shlex.quote(str(kubeconfig))}"]
    if program_folders:
        folders = ":".join(shlex.quote(str(folder)) for folder in program_folders)
        lines.append(f'export PATH={folders}:"$PATH"')
    return "\n".join(lines)
