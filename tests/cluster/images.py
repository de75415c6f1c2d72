"""`python3 tests/cluster images`: every image of Windlass, built from `dockerfiles/` and within the cluster's reach.

On the bare cluster by buildah and a registry on the loopback, on kind and minikube by Docker; CLUSTER=current takes
images that are somewhere already. Knows: which images there are and where their names are written for helm.
Must not know: how any of it is done.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import choose
import image_bare
import image_docker
import image_registry
import kind
import minikube
import packages
import registry
from console import ClusterError, say
from image_content import Image, snapshot, tag
from image_registry import Reference
from layout import REGISTRY, REPOSITORY, Layout, layout
from shell import attempt

# The largest last: while its gigabytes are stored or pushed, buildah lets no other build write.
NAMES = ("preprocess", "operator", "infer", "versitygw", "train", "infer-torch")
LOAD_COMMANDS = {"kind": kind.load_commands, "minikube": minikube.load_commands}
GIT_TIMEOUT_SECONDS = 10.0
VALUES_VARIABLE = "WINDLASS_IMAGES"


def build_and_push(layout: Layout, *, listed: bool = True) -> None:
    """Have all images where the cluster finds them, write helm's values that name them, and list them if that is wanted.

    Raises ClusterError when an image cannot be built or brought there.
    """
    cluster = choose.for_use(layout).NAME
    if cluster == "current":
        say(f"CLUSTER=current: nothing is built; the images are those that {values_file(layout)} names.")
        return
    if cluster == "bare":
        packages.install()
        registry.start_registry(layout)
        names = on_bare(layout)
    else:
        names = _with_docker(cluster, layout)
    if listed:
        say("\n".join(f"  {name}" for name in names))


def on_bare(layout: Layout) -> list[str]:
    """The images for the bare cluster, and what they are called. Its registry must serve; the rest may be up or not yet.

    Raises ClusterError when an image cannot be built, pushed or pulled.
    """
    images = [Image(name, {**image_bare.arguments()[name], **torch_options(name)}) for name in NAMES]
    with _snapshot(images) as context:
        tags = {image.name: tag(image, context) for image in images}
        named = {Reference(REGISTRY, f"windlass/{image.name}", tags[image.name]): image for image in images}
        image_bare.build_and_push(named, context, _revision(), layout)
    image_bare.pull(named, layout)
    _write_values(layout, {image.name: (f"{name.registry}/{name.repository}", name.tag) for name, image in named.items()})
    sizes = {name: sum((image_registry.layers(name) or {}).values()) for name in named}
    return [f"{name}, {size / 1e6:.0f} MB compressed" for name, size in sizes.items()]


def _with_docker(cluster: str, layout: Layout) -> list[str]:
    images = [Image(name, torch_options(name)) for name in NAMES]
    with _snapshot(images) as context:
        named = {f"windlass/{image.name}:{tag(image, context)}": image for image in images}
        image_docker.build_and_load(named, context, _revision(), LOAD_COMMANDS[cluster](list(named)))
    parts = {image.name: name.partition(":") for name, image in named.items()}
    _write_values(layout, {name: (repository, tag) for name, (repository, _, tag) in parts.items()})
    return list(named)


def torch_options(name: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The build argument by which a user chooses another build of torch; only the images with torch know it."""
    options = environment.get("TORCH_PIP_OPTIONS", "")
    return {"TORCH_PIP_OPTIONS": options} if options and name in image_bare.WITH_TORCH else {}


def values_file(layout: Layout) -> Path:
    """Where helm's values with the images' names are, or will be.

    Raises ClusterError when CLUSTER=current and nobody said which images it can pull.
    """
    if choose.for_use(layout).NAME != "current":
        return layout.configuration("images.yaml")
    named = os.environ.get(VALUES_VARIABLE)
    if not named:
        raise ClusterError(
            f"CLUSTER=current takes images from a registry that the cluster reaches: push them there, and let "
            f"{VALUES_VARIABLE} name a file with helm's values `images.<name>.repository` and `.tag`."
        )
    return Path(named)


def values(images: Mapping[str, tuple[str, str]]) -> str:
    """Helm's values for images, given as repository and tag by name; JSON is YAML, and quotes tags that are digits."""
    entries = {name: {"repository": repository, "tag": tag} for name, (repository, tag) in sorted(images.items())}
    return json.dumps({"images": entries}, indent=2) + "\n"


def _write_values(layout: Layout, images: Mapping[str, tuple[str, str]]) -> None:
    path = values_file(layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(values(images))
    partial.replace(path)


@contextmanager
def _snapshot(images: Iterable[Image]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="windlass-images-") as folder:
        snapshot(REPOSITORY, images, Path(folder))
        yield Path(folder)


def _revision() -> str:
    """The commit that is checked out, for the images' labels."""
    asked = attempt(["git", "-C", REPOSITORY, "rev-parse", "HEAD"], timeout_seconds=GIT_TIMEOUT_SECONDS)
    return asked.stdout.strip() if asked.returncode == 0 else "unknown"


if __name__ == "__main__":
    try:
        build_and_push(layout())
    except ClusterError as error:
        sys.exit(str(error))
