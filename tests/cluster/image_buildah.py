"""buildah, with a storage of its own in the cache: build from a Dockerfile, push by layers, clean up after a kill.

Needs root and Debian's buildah, no daemon. Containers of a build are plain chroots, so that it also works where user
namespaces and control groups are not to be had. Must not know: which images there are, or what they are for.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import following
import image_process
import mounts
from console import Progress
from shell import attempt, found, run

COMMAND_TIMEOUT_SECONDS = 300.0  # to remove 5 GB of layers from a busy disk takes a minute
SHOWN_CHARACTERS = 90
# Measured on 2 cores with torch's 4.5 GB: zstd at this level 48 s to push and 53 s to pull and unpack, 2.6 GB stored;
# gzip as buildah has it by default 81 s and 79 s, 2.8 GB; gzip without compression 50 s and 77 s, 4.8 GB.
COMPRESSION = ("--compression-format", "zstd", "--compression-level", "1")
# About 150 layers are in use. Each change adds 20 small ones of stages, kept so that the next build finds them; but it
# looks through all, and to drop them costs one build of a few seconds more.
KEPT_LAYERS = 500


@dataclass(frozen=True)
class Build:
    """One build: the Dockerfile, its context, and what the build may see of this machine."""

    dockerfile: Path
    context: Path
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    mounts: Mapping[Path, str] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)  # names of images here that stand in for stages
    stage: str = ""


@dataclass(frozen=True)
class Buildah:
    """buildah working in `folder`."""

    folder: Path

    @property
    def storage(self) -> Path:
        """Images and layers: a cache."""
        return self.folder / "storage"

    @property
    def temporary(self) -> Path:
        """Layers on their way into the storage or to a registry; gigabytes, so not in /tmp, which may be memory."""
        return self.folder / "tmp"

    def command(self, *arguments: str) -> list[str]:
        """A command line of buildah on this storage."""
        options = ["--root", str(self.storage), "--runroot", str(self.folder / "run")]
        return [found("buildah") or "buildah", *options, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """Settings that buildah has no options for."""
        return {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", "TMPDIR": str(self.temporary)}

    def build(self, wanted: Build, log: Path, progress: Progress) -> None:
        """Build an image; layers that are there already are not made again. Raises ClusterError when a step fails."""
        self._follow(build_arguments(wanted), log, progress)

    def push(self, name: str, log: Path, progress: Progress) -> None:
        """Push an image under its own name to a registry on this machine; layers that it has are not sent again."""
        self._follow(["push", "--tls-verify=false", *COMPRESSION, name, f"docker://{name}"], log, progress)

    def has(self, name: str) -> bool:
        """Whether an image of this name is in the storage."""
        asked = self.command("inspect", "--type", "image", "--format", "{{.FromImageID}}", name)
        return attempt(asked, timeout_seconds=COMMAND_TIMEOUT_SECONDS, env=self.environment).returncode == 0

    def names(self) -> list[str]:
        """The names of all images that have one, newest first."""
        if not self.storage.is_dir():
            return []
        listed = self._run("images", "--format", "{{.Name}}:{{.Tag}}").split()
        return [name for name in listed if "<none>" not in name]

    def forget(self, names: Iterable[str]) -> None:
        """Remove images, with their layers where nothing else needs them; and layers of builds when they are too many."""
        old = list(names)
        if old:
            self._run("rmi", "--force", *old)
        if len(self._run("images", "--all", "--quiet").split()) > KEPT_LAYERS:
            self._run("rmi", "--prune", "--force")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what a build needs, which only root can read, removed at the end."""
        folder = Path(tempfile.mkdtemp(dir=self.temporary))
        try:
            yield folder
        except BaseException:
            self.clean()  # steps may be at work there still, with the machine's own devices mounted
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def prepare(self) -> None:
        """Clear what a killed build left, and make the folders. No other build may be running."""
        self.clean()
        for folder in (self.storage, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """End processes of builds, remove their containers, mounts and half-written files; images stay."""
        if not self.storage.is_dir():
            return
        image_process.kill(self.folder)
        mounts.clear(self.temporary)  # before anything is removed there: mmdebstrap mounts the machine's own devices
        if any((self.storage / "overlay-containers").glob("*/")):
            self._run("rm", "--all")
        mounts.clear(self.folder)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _run(self, *arguments: str) -> str:
        self.temporary.mkdir(parents=True, exist_ok=True)  # even a list of images writes there
        return run(self.command(*arguments), timeout_seconds=COMMAND_TIMEOUT_SECONDS, env=self.environment)

    def _follow(self, arguments: list[str], log: Path, progress: Progress) -> None:
        following.follow(self.command(*arguments), self.environment, log, progress, where)


def build_arguments(build: Build) -> list[str]:
    """The arguments of `buildah build` for one image."""
    options = ["build", "--layers", "--force-rm", "--file", str(build.dockerfile), "--tag", build.tag]
    options += [f"--target={build.stage}"] if build.stage else []
    options += [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
    options += [f"--secret=id={name},src={path}" for name, path in build.secrets.items()]
    options += [f"--volume={source}:{target}" for source, target in build.mounts.items()]
    options += [f"--build-context={stage}=container-image://{name}" for stage, name in build.stages.items()]
    return [*options, str(build.context)]


def where(line: str) -> str:
    """The step that a line of buildah's output announces, short enough for one line; empty when it announces none.

    >>> where("[2/4] STEP 3/8: COPY constraints.txt ./")
    'stage 2/4, step 3/8: COPY constraints.txt ./'
    """
    match = re.match(r"(?:\[(?P<stage>[\d/]+)\] )?STEP (?P<step>[\d/]+): (?P<what>.*)", line.rstrip())
    if match is None:
        return line.rstrip()[:SHOWN_CHARACTERS] if line.startswith(("Copying", "Writing")) else ""
    stage = f"stage {match['stage']}, " if match["stage"] else ""
    return f"{stage}step {match['step']}: {match['what']}"[:SHOWN_CHARACTERS]
