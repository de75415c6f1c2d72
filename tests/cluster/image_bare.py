"""The images for the bare cluster: built by buildah, pushed to the registry on the loopback, pulled by containerd.

Knows: in which order that goes, and what can be skipped. Must not know: how a Dockerfile is built, or a layer sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import binaries
import containerd
import image_base
import image_registry
import image_settings
import processes
from console import say, step
from image_buildah import Build, Buildah
from image_content import Image
from image_registry import Reference
from layout import Layout
from lock import exclusive
from shell import found, run

AT_ONCE = 2  # one build waits for the disk while another computes
PULL_TIMEOUT_SECONDS = 600.0
LIST_TIMEOUT_SECONDS = 60.0
KEPT_TAGS = 20  # of each image, in containerd; all are in the registry, so dropping them costs one short pull
TOOLS_STAGE = "tools"  # the first stage of every Dockerfile that installs Python packages
TOOLS_NAME = f"localhost/windlass/{TOOLS_STAGE}:latest"


def arguments() -> dict[str, dict[str, str]]:
    """Build arguments by image: the names under which this machine has what else comes from the internet."""
    base = {"BASE": image_base.base_name(image_base.origin())}
    python = {name: base for name in ("operator", "preprocess", "train", "infer")}
    return {**python, "versitygw": {"UPSTREAM": f"localhost/windlass/versitygw-upstream:{binaries.VERSITYGW.digest}"}}


def buildah(layout: Layout) -> Buildah:
    """The builder, with its storage in the cache."""
    return Buildah((layout.cache / "buildah").resolve())


@dataclass(frozen=True)
class Work:
    """What one round of builds shares."""

    layout: Layout
    builder: Buildah
    context: Path
    revision: str
    secrets: Mapping[str, Path]

    def log(self, name: str) -> Path:
        """Where buildah's output for an image is kept."""
        return self.layout.log(f"image-{name}")


def build_and_push(images: Mapping[Reference, Image], context: Path, revision: str, layout: Layout) -> None:
    """Have every image in the registry, which must serve; what is there already is left alone.

    Raises ClusterError when a step fails.
    """
    missing = {name: image for name, image in images.items() if image_registry.stored_bytes(name) is None}
    if not missing:
        return
    builder = buildah(layout)
    with exclusive(layout.cache / "buildah.lock"):
        builder.prepare()
        try:
            _build_missing(missing, context, revision, builder, layout)
            builder.forget_all_but([TOOLS_NAME, *map(str, images), *_bases()])
        finally:
            builder.clean()


def _bases() -> list[str]:
    return [name for values in arguments().values() for name in values.values()]


def _build_missing(
    missing: Mapping[Reference, Image], context: Path, revision: str, builder: Buildah, layout: Layout
) -> None:
    index = image_settings.index()
    with builder.scratch() as folder:
        secrets = {"pip.conf": folder / "pip.conf", "uv.toml": folder / "uv.toml"}
        secrets["pip.conf"].write_text(index.pip_conf())
        secrets["uv.toml"].write_text(index.uv_toml())
        work = Work(layout, builder, context, revision, secrets)
        python = [image for image in missing.values() if "BASE" in image.arguments]
        if python:
            image_base.make_base(builder, image_base.origin(), work.log("base"))
            _build_tools(python[0], work)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(_build_one, name, image, work) for name, image in missing.items()]:
                done.result()


def _build_tools(image: Image, work: Work) -> None:
    """The stage that the Dockerfiles share, before they are built at the same time."""
    with step("Images: the installer"):
        _build(image, TOOLS_NAME, TOOLS_STAGE, work)


def _build_one(name: Reference, image: Image, work: Work) -> None:
    with step(f"Image {image.name}: build", slow=image.name == "train") as progress:
        if image.name == "versitygw":
            program = binaries.build(binaries.VERSITYGW, work.layout) / "versitygw"
            image_base.make_versitygw(work.builder, image.arguments["UPSTREAM"], program, work.log("base"), progress)
        _build(image, str(name), "", work, progress)
    with step(f"Image {image.name}: push", slow=image.name == "train") as progress:
        work.builder.push(str(name), work.log(f"{image.name}-push"), progress)
