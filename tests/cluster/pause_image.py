"""The image of a pod's sandbox, made here because no registry may be at hand: one static program that waits.

Knows: the format of `docker save`. Must not know: how images come into containerd.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

NAME = "localhost/windlass/pause:1"
PROGRAM = "pause"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archive(program: Path) -> bytes:
    """A `docker save` archive of an image that holds the static `program` and runs it with -P: as a pod's first process.

    The same program gives the same bytes.
    """
    layer = _tar({PROGRAM: (program.read_bytes(), 0o755)})
    configuration = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [f"/{PROGRAM}", "-P"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": (json.dumps(configuration).encode(), 0o644),
            "layer.tar": (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
