"""What goes into each image, and the tag that says so.

An image's tag is a hash of its Dockerfile, of the files that this copies, and of the build arguments that matter: the
same content has the same tag in every checkout, and what is in the registry already need not be built.
Knows: files. Must not know: builders, registries or clusters.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from console import ClusterError

TAG_LENGTH = 12  # hexadecimal digits; short enough to read, long enough never to meet twice


@dataclass(frozen=True)
class Image:
    """One image: its name, which its Dockerfile bears as well, and the build arguments that change its content."""

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    def dockerfile(self, repository: Path) -> Path:
        """The path of its Dockerfile."""
        return repository / "dockerfiles" / f"{self.name}.Dockerfile"


def copied(dockerfile: str) -> list[str]:
    """The paths that a Dockerfile copies from the build context, in order.

    >>> copied("COPY a.txt b/ /to/\\nCOPY --from=stage /c /c\\nCOPY a.txt .")
    ['a.txt', 'b/']
    """
    joined = dockerfile.replace("\\\n", " ").splitlines()
    words = (shlex.split(line, comments=True) for line in joined if line.startswith("COPY "))
    return list(dict.fromkeys(path for line in words if not line[1].startswith("--from") for path in line[1:-1]))


def stage(dockerfile: str, name: str) -> str:
    """The lines of one stage of a Dockerfile.

    >>> stage("ARG A\\nFROM ${A} AS one\\nRUN x\\nFROM one AS two\\nRUN y\\n", "one")
    'FROM ${A} AS one\\nRUN x\\n'
    """
    found = re.search(rf"^FROM \S+ AS {name}\n.*?(?=^FROM |\Z)", dockerfile, re.MULTILINE | re.DOTALL)
    return found.group() if found else ""


def stage_content(image: Image, context: Path, name: str) -> str | None:
    """A hash of all that a stage of an image is made of, the stages that it names among it; None when it has no such stage.

    `context` is a folder made by `snapshot`.
    """
    texts = _with_those_named(image.dockerfile(context).read_text(), name)
    if not texts:
        return None
    content = hashlib.sha256(repr(texts).encode())
    for part in _described(image.arguments, [context / path for text in texts for path in copied(text)], context):
        content.update(hashlib.sha256(part).digest())
    return content.hexdigest()[:TAG_LENGTH]


def _with_those_named(dockerfile: str, name: str) -> list[str]:
    text = stage(dockerfile, name)
    named = re.findall(r"(?:^FROM |\bfrom=)([\w-]+)", text)
    return [text, *(part for other in named for part in _with_those_named(dockerfile, other))] if text else []


def ignored_names(dockerignore: str) -> list[str]:
    """The patterns of `.dockerignore` that hold for a name in any folder."""
    return [line.removeprefix("**/") for line in dockerignore.splitlines() if line.startswith("**/")]


def snapshot(repository: Path, images: Iterable[Image], target: Path) -> None:
    """Copy all that the images' Dockerfiles copy, and these, to `target`: an edit meanwhile is not half built.

    Raises ClusterError when one of them is not there.
    """
    ignore = shutil.ignore_patterns(*ignored_names((repository / ".dockerignore").read_text()))
    wanted: set[str] = set()
    for image in images:
        dockerfile = image.dockerfile(repository)
        wanted.add(str(dockerfile.relative_to(repository)))
        if dockerfile.is_file():  # one that is not there fails below, by name
            wanted.update(copied(dockerfile.read_text()))
    for name in sorted(wanted):
        source, place = repository / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                shutil.copytree(source, place, ignore=ignore, dirs_exist_ok=True)
            else:
                shutil.copy2(source, place)
        except OSError as error:
            raise ClusterError(f"An image needs `{name}`, which cannot be copied: {error}") from error


def tag(image: Image, context: Path) -> str:
    """The tag of an image whose files are in `context`, a folder made by `snapshot`."""
    dockerfile = image.dockerfile(context)
    paths = [dockerfile, *(context / name for name in copied(dockerfile.read_text()))]
    content = hashlib.sha256()
    for part in _described(image.arguments, paths, context):
        content.update(hashlib.sha256(part).digest())
    return content.hexdigest()[:TAG_LENGTH]


def _described(arguments: Mapping[str, str], paths: Iterable[Path], context: Path) -> Iterator[bytes]:
    """Everything that the tag depends on, each part by itself so that no two contents read alike."""
    yield repr(sorted(arguments.items())).encode()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                yield str(file.relative_to(context)).encode()
                yield b"x" if file.stat().st_mode & 0o100 else b"-"
                yield file.read_bytes()
