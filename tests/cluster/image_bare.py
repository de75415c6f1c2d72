"""The images for the bare cluster: built by buildah, pushed to the registry on the loopback, pulled by containerd.

Knows: in which order that goes, and what can be skipped. Must not know: how a Dockerfile is built, or a layer sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import binaries
import containerd
import image_base
import image_content
import image_keep
import image_process
import image_registry
import image_settings
import mounts
import processes
import registry
from console import Progress, step
from image_buildah import Build, Buildah
from image_content import Image
from image_registry import Reference
from layout import REGISTRY, Layout
from lock import exclusive
from shell import found, run

AT_ONCE = 2  # one build waits for the disk while another computes
# Images with torch in one layer, the same in each: built one after the other, the second finds it made.
WITH_TORCH = ("train", "infer-torch")
PULL_TIMEOUT_SECONDS = 600.0
CLEAN_WAIT_SECONDS = 60.0
# Stages that have none of our code. Whether it has the result of a COPY, buildah finds only by copying, a quarter of a second
# each: so these are built by themselves, and the builds of images are told to take them as they are.
STAGES = ("tools", "requirements", "scripts", "runtime")


def arguments() -> dict[str, dict[str, str]]:
    """Build arguments by image: the names under which this machine has what else comes from the internet."""
    base = {"BASE": image_base.base_name(image_base.origin())}
    python = dict.fromkeys(("operator", "preprocess", "train", "infer", "infer-torch"), base)
    return {**python, "versitygw": {"UPSTREAM": f"localhost/windlass/versitygw-upstream:{binaries.VERSITYGW.digest}"}}


def buildah(layout: Layout) -> Buildah:
    """The builder, with its storage in the cache."""
    return Buildah((layout.cache / "buildah").resolve())


@dataclass(frozen=True)
class Work:
    """What the builds of one round share."""

    layout: Layout
    builder: Buildah
    context: Path
    revision: str
    secrets: Mapping[str, Path]
    mounts: Mapping[Path, str]

    def stages(self, image: Image) -> dict[str, str]:
        """The stages of an image that are built by themselves, and the names of these."""
        contents = {stage: image_content.stage_content(image, self.context, stage) for stage in STAGES}
        return {stage: f"localhost/windlass/{stage}:{content}" for stage, content in contents.items() if content}

    def log(self, name: str) -> Path:
        """Where buildah's output for an image is kept."""
        return self.layout.log(f"image-{name}")

    def build(self, image: Image, tag: str, progress: Progress, stage: str = "") -> None:
        """Build an image, or one of its stages alone."""
        self.builder.build(
            Build(
                dockerfile=image.dockerfile(self.context),
                context=self.context,
                tag=tag,
                stage=stage,
                stages=_before(self.stages(image), stage),
                arguments={**image.arguments, "REVISION": self.revision},
                secrets=self.secrets,
                mounts=self.mounts,
            ),
            self.log(stage or image.name),
            progress,
        )


def build_and_push(images: Mapping[Reference, Image], context: Path, revision: str, layout: Layout) -> None:
    """Have every image in the registry, which must serve; what is there already is left alone.

    Raises ClusterError when a step fails.
    """
    missing = {name: image for name, image in images.items() if image_registry.layers(name) is None}
    if not missing:
        return
    builder = buildah(layout)
    with exclusive(layout.cache / "buildah.lock"):
        builder.prepare()
        registry.drop_partial_uploads(layout)
        try:
            with builder.scratch() as folder:
                secrets = image_settings.write_secrets(folder)
                work = Work(layout, builder, context, revision, secrets, image_settings.mounts())
                _build_all(missing, work)
            _forget_old(images, work)
        finally:
            builder.clean()


def _build_all(images: Mapping[Reference, Image], work: Work) -> None:
    on_python = [image for image in images.values() if "BASE" in image.arguments]
    if on_python:
        image_base.make_base(work.builder, image_base.origin(), work.log("base"))
        _build_stages(on_python, work)
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for done in as_completed([pool.submit(_build_each, group, work) for group in _groups(images)]):
            done.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        image_process.kill(work.builder.folder)  # the other build, which nobody will wait for
        raise
    finally:
        pool.shutdown()


def _build_stages(images: Collection[Image], work: Work) -> None:
    there = set(work.builder.names())
    wanted = {name: (image, stage) for image in images for stage, name in work.stages(image).items() if name not in there}
    for name, (image, stage) in wanted.items():
        with step(f"Images: stage {stage}, first of {image.name}") as progress:
            work.build(image, name, progress, stage)


def _before(stages: Mapping[str, str], stage: str) -> dict[str, str]:
    """Of stages in their order, those before one; all, when that is empty."""
    names = list(stages)
    return {name: stages[name] for name in names[: names.index(stage)]} if stage else dict(stages)


def _groups(images: Mapping[Reference, Image]) -> list[dict[Reference, Image]]:
    """The images in groups that do not wait for one another, in the same order."""
    alone = [{name: image} for name, image in images.items() if image.name not in WITH_TORCH]
    together = {name: image for name, image in images.items() if image.name in WITH_TORCH}
    return [*alone, together] if together else alone


def _build_each(group: Mapping[Reference, Image], work: Work) -> None:
    for name, image in group.items():
        _build_one(name, image, work)


def _build_one(name: Reference, image: Image, work: Work) -> None:
    slow = image.name in WITH_TORCH
    if image.name == "versitygw":
        program = binaries.build(binaries.VERSITYGW, work.layout) / "versitygw"
        image_base.make_versitygw(work.builder, image.arguments["UPSTREAM"], program, work.log("base"))
    with step(f"Image {image.name}: build", slow=slow) as progress:
        work.build(image, str(name), progress)
    with step(f"Image {image.name}: push", slow=slow) as progress:
        work.builder.push(str(name), work.log(f"{image.name}-push"), progress)


def _forget_old(images: Mapping[Reference, Image], work: Work) -> None:
    """Keep the wanted images and the newest of those before them, in the builder's storage and in the registry."""
    builder = work.builder
    bases = {name for image in images.values() for name in (*image.arguments.values(), *work.stages(image).values())}
    wanted = {*map(str, images), *bases}
    built = builder.names()
    old = set(image_keep.outdated(built, wanted))
    ours = {name.repository for name in images}
    stored = {str(name): name for repository in ours for name in _stored(repository)}
    names = [name for name in dict.fromkeys([*map(str, images), *built]) if name in stored and name not in old]
    sizes = {name: image_registry.layers(stored[name]) or {} for name in names}
    old.update(image_keep.too_large(sizes, wanted))
    builder.forget(name for name in built if name in old)
    kept = wanted.union(built) - old
    if image_registry.forget(
        [image for name, image in stored.items() if name not in kept],
        [image for name, image in stored.items() if name in kept],
    ):
        with step("Remove old images from the registry"):
            registry.collect_garbage(work.layout)


def _stored(repository: str) -> list[Reference]:
    return [Reference(REGISTRY, repository, tag) for tag in image_registry.tags(REGISTRY, repository)]


def pull(images: Collection[Reference], layout: Layout) -> None:
    """Have the images unpacked on the node, so that the first pods need not wait; does nothing without a cluster.

    Raises ClusterError when a pull fails.
    """
    if not processes.alive(containerd.NAME):
        return
    there = _on_node(layout)
    for name in map(str, images):
        if name not in there:
            with step(f"Image {name}: pull to the node"):
                _ctr(layout, "images", "pull", "--plain-http", name)
    old = superseded(_on_node(layout), list(map(str, images)), set(buildah(layout).names()))
    if old:
        _ctr(layout, "images", "rm", *old)


def superseded(there: Mapping[str, str], wanted: Collection[str], built: set[str]) -> list[str]:
    """Of the node's images, name to digest, those of ours to drop: neither wanted nor kept by the builder.

    The node knows each image by its digests as well, and keeps it for as long as one of its names is left. What runs
    goes on.
    """
    kept = built.union(wanted)
    ours = {name.rpartition(":")[0] for name in wanted}

    def may_go(name: str) -> bool:
        repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
        return name not in kept and (repository in ours or name.startswith("sha256:"))

    needed = {digest for name, digest in there.items() if not may_go(name)}
    return [name for name, digest in there.items() if may_go(name) and digest not in needed]


def clean(layout: Layout) -> None:
    """End builds and remove their mounts and containers; built images stay. For `down`, and after an interrupt."""
    builder = buildah(layout)
    if builder.storage.is_dir():
        image_process.kill(builder.folder)  # whoever waits for it gives up, and with that the lock
        with exclusive(layout.cache / "buildah.lock", CLEAN_WAIT_SECONDS):
            builder.clean()


def leaks(layout: Layout) -> list[str]:
    """What of image builds is on this machine besides caches, a line each."""
    builder = buildah(layout)
    return [
        *(f"process {number} of an image build" for number in image_process.strays(builder.folder)),
        *(f"mount {point} of an image build" for point in mounts.below(builder.folder) if builder.folder.is_dir()),
    ]


def _on_node(layout: Layout) -> dict[str, str]:
    lines = _ctr(layout, "images", "ls").splitlines()[1:]
    return {fields[0]: fields[2] for fields in map(str.split, lines)}


def _ctr(layout: Layout, *arguments: str) -> str:
    program = [found("ctr") or "ctr", "--address", str(containerd.socket(layout)), "--namespace", containerd.NAMESPACE]
    return run([*program, *arguments], timeout_seconds=PULL_TIMEOUT_SECONDS)
