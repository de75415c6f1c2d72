"""The images where Docker is at hand: `docker build` on the same Dockerfiles, then into the node of kind or minikube.

Commands are pure values, so that they can be checked where no Docker is. The base images come from their own registries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from console import step
from image_content import Image
from shell import attempt, run

INSPECT_TIMEOUT_SECONDS = 30.0
BUILD_TIMEOUT_SECONDS = 45 * 60.0  # torch alone is a download of 3 GB
LOAD_TIMEOUT_SECONDS = 15 * 60.0


def build_command(image: Image, name: str, context: Path, revision: str) -> list[str]:
    """Build one image; `context` is the folder with its Dockerfile and what this copies."""
    arguments = {**image.arguments, "REVISION": revision}
    return [
        "docker", "build", "--file", str(image.dockerfile(context)), "--tag", name,
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        str(context),
    ]  # fmt: skip


def inspect_command(name: str) -> list[str]:
    """Succeeds when Docker has the image."""
    return ["docker", "image", "inspect", name]


def build_and_load(images: Mapping[str, Image], context: Path, revision: str, load_commands: list[list[str]]) -> None:
    """Build the images that Docker does not have, by the names that are the keys, and bring all of them to the node.

    Raises ClusterError when a command fails.
    """
    for name, image in images.items():
        if attempt(inspect_command(name), timeout_seconds=INSPECT_TIMEOUT_SECONDS).returncode != 0:
            with step(f"Image {name}: docker build", slow=True):
                run(build_command(image, name, context, revision), timeout_seconds=BUILD_TIMEOUT_SECONDS)
    with step("Images: load into the node", slow=True):
        for command in load_commands:
            run(command, timeout_seconds=LOAD_TIMEOUT_SECONDS)
