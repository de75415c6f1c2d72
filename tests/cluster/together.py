"""A cluster and its images at once: on an empty machine each takes minutes, and neither needs the other until the end.

Knows: what may overlap. Must not know: how either is made.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import bare
import images
from choose import Backend
from console import ClusterError
from layout import HERE, Layout

STOP_TIMEOUT_SECONDS = 60.0  # for image builds to end and to clean up after themselves


def up_with_images(layout: Layout, backend: Backend) -> None:
    """Have the cluster run and all images where it finds them. Raises ClusterError when either fails."""
    if backend.NAME == bare.NAME and not bare.healthy(layout):
        bare.prepare(layout)
        with _images_meanwhile():
            bare.finish(layout)
    else:
        backend.up(layout)
    images.build_and_push(layout)  # quick when the images are there; brings those to the node that it does not have


@contextmanager
def _images_meanwhile() -> Iterator[None]:
    """Build images in a process of its own, which ends with this block: waited for, or stopped when the block fails."""
    # The process is told what the cluster is, because that is noted only once it runs.
    environment = {**os.environ, "CLUSTER": bare.NAME}
    command = [sys.executable, str(HERE), "images", "--unlisted"]  # they are listed once they are on the node as well
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment) as process:
        try:
            yield
            if process.wait() != 0:
                raise ClusterError("The images could not be built; what failed is said above.")
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
