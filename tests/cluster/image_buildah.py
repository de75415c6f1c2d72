"""buildah, with a storage of its own in the cache: build from a Dockerfile, push by layers, clean up after a kill.

Needs root and Debian's buildah, no daemon. Containers of a build are plain chroots, so that it also works where user
namespaces and control groups are not to be had. Must not know: which images there are, or what they are for.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import mounts
from console import ClusterError, Progress
from shell import attempt, found, last_lines, run, wait_until

COMMAND_TIMEOUT_SECONDS = 120.0
LONG_COMMAND_SECONDS = 45 * 60.0  # a download of 3 GB over a slow line
SHOWN_CHARACTERS = 90
KILL_SECONDS = 10.0
# Measured on 2 cores with torch's 4.5 GB: zstd at this level 48 s to push and 53 s to pull and unpack, 2.6 GB stored;
# gzip as buildah has it by default 81 s and 79 s, 2.8 GB; gzip without compression 50 s and 77 s, 4.8 GB.
COMPRESSION = ("--compression-format", "zstd", "--compression-level", "1")
KEPT_TAGS = 3  # of each image; an old one may hold the only use of 5 GB of torch
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
        """A command line. buildah dies with the thread that started it, however that one ends."""
        buildah = [found("buildah") or "buildah", "--root", str(self.storage), "--runroot", str(self.folder / "run")]
        return ["setpriv", "--pdeathsig", "TERM", *buildah, *arguments]

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

    def forget_old(self, wanted: set[str]) -> None:
        """Remove images that were followed by newer ones, with their layers where nothing else needs them."""
        old = outdated(self.names(), wanted)
        if old:
            self._run("rmi", "--force", *old)
        if len(self._run("images", "--all", "--quiet").split()) > KEPT_LAYERS:
            self._run("rmi", "--prune", "--force")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what a build needs, which only root can read; `clean` removes it if nobody else does."""
        with tempfile.TemporaryDirectory(dir=self.temporary) as folder:
            yield Path(folder)

    def prepare(self) -> None:
        """Clear what a killed build left, and make the folders. No other build may be running."""
        self.clean()
        for folder in (self.storage, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """End processes of builds, remove their containers, mounts and half-written files; images stay."""
        if not self.storage.is_dir():
            return
        self.kill()
        mounts.clear(self.temporary)
        if any((self.storage / "overlay-containers").glob("*/")):
            self._run("rm", "--all")
        mounts.clear(self.folder)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def kill(self) -> None:
        """End every process of a build. Raises ClusterError when one stays."""
        for process in self.strays():
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(process, signal.SIGKILL)
        if not wait_until(lambda: not self.strays(), KILL_SECONDS):
            raise ClusterError(f"These processes of an image build cannot be ended: {self.strays()}")

    def strays(self) -> list[int]:
        """Processes at work in the storage: buildah itself, and steps of builds, which outlive a killed buildah."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._owns(entry)]

    def _owns(self, process: Path) -> bool:
        try:
            words = (process / "cmdline").read_text(errors="replace").split("\0")
            table = (process / "mountinfo").read_text()
        except OSError:  # it ended while it was looked at
            return False
        if words[0].endswith("buildah") and str(self.storage) in words:
            return True
        # The root of a step is an overlay of layers in the storage, in a mount namespace of its own.
        roots = (line for line in table.splitlines() if line.split(" ")[4] == "/")
        return any(f"={self.storage}/" in line for line in roots)

    def _run(self, *arguments: str) -> str:
        self.temporary.mkdir(parents=True, exist_ok=True)  # even a list of images writes there
        return run(self.command(*arguments), timeout_seconds=COMMAND_TIMEOUT_SECONDS, env=self.environment)

    def _follow(self, arguments: list[str], log: Path, progress: Progress) -> None:
        """Run a long command: its output goes to the log, where it is to the progress. Raises ClusterError."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("w") as file,
            subprocess.Popen(
                self.command(*arguments), env={**os.environ, **self.environment}, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as process,
        ):  # fmt: skip
            limit = threading.Timer(LONG_COMMAND_SECONDS, process.terminate)
            limit.start()
            step = "starting"
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    file.write(line)
                    step = where(line) or step
                    progress.tell(step)
            except BaseException:
                process.terminate()
                raise
            finally:
                limit.cancel()
        if process.returncode != 0:
            said = last_lines(log.read_text(errors="replace"))
            raise ClusterError(f"`buildah {arguments[0]}` failed; all it said is in {log}:\n{said}")


def outdated(names: Iterable[str], wanted: set[str]) -> list[str]:
    """Of names that come newest first, those with `KEPT_TAGS` newer tags of the same image, and none of the wanted.

    >>> outdated(["a:5", "a:4", "a:3", "a:2", "b:1"], {"a:3"})
    ['a:2']
    """
    seen: Counter[str] = Counter()
    old = []
    for name in names:
        repository = name.rpartition(":")[0]
        if seen[repository] >= KEPT_TAGS and name not in wanted:
            old.append(name)
        seen[repository] += 1
    return old


def build_arguments(build: Build) -> list[str]:
    """The arguments of `buildah build` for one image."""
    options = ["build", "--layers", "--force-rm", "--file", str(build.dockerfile), "--tag", build.tag]
    options += [f"--target={build.stage}"] if build.stage else []
    options += [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
    options += [f"--secret=id={name},src={path}" for name, path in build.secrets.items()]
    options += [f"--volume={source}:{target}" for source, target in build.mounts.items()]
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
