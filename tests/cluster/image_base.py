"""The two images that would come from a registry on the internet, made on this machine: Python's, and the S3 server's.

A Dockerfile takes the name of its base as a build argument, so what is made here stands in for `python:3.11-slim` and
for versitygw's own image. Needs Debian's mmdebstrap. Must not know: our Dockerfiles.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import following
from console import Progress, step
from image_buildah import Build, Buildah
from image_content import TAG_LENGTH

DEFAULT_SUITE = "bookworm"
# What `python:3.11-slim` has too. libstdc++6 is what compiled wheels take for granted; usr-is-merged is there because
# the alternative that satisfies the same dependency brings 50 MB of Perl.
PACKAGES = ("usr-is-merged", "python3", "python3-pip", "libstdc++6", "ca-certificates", "netbase", "tzdata")
EXCLUDED = ("doc", "man", "info", "locale", "lintian", "bash-completion")
HOOK = "/usr/share/mmdebstrap/hooks/merged-usr"
BASE_DOCKERFILE = """\
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""
BINARY_DOCKERFILE = """\
FROM scratch
COPY versitygw /usr/local/bin/versitygw
"""


@dataclass(frozen=True)
class Origin:
    """A release of Debian and where to get it; no mirror means the archive that mmdebstrap knows."""

    suite: str = DEFAULT_SUITE
    mirrors: tuple[Path, ...] = ()


def origin(root: Path = Path("/")) -> Origin:
    """This machine's own release and mirrors, so that they fit what it can reach; of another system, neither."""
    lines = (root / "etc/os-release").read_text().splitlines()
    fields = dict(line.partition("=")[::2] for line in lines)
    if fields.get("ID") != "debian":
        return Origin()
    known = [root / "etc/apt/sources.list", root / "etc/apt/sources.list.d/debian.sources"]
    mirrors = tuple(path for path in known if path.is_file() and path.stat().st_size > 0)
    return Origin(fields.get("VERSION_CODENAME", DEFAULT_SUITE), mirrors)


def bootstrap_command(source: Origin, target: Path) -> list[str]:
    """The mmdebstrap command: the packages that Debian calls essential, Python, and no documentation."""
    return [
        "mmdebstrap",
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        f"--hook-dir={HOOK}",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io",  # the result is a file; a crash loses all of it anyway
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in EXCLUDED),
        source.suite,
        str(target),
        *map(str, source.mirrors),
    ]


def base_name(source: Origin) -> str:
    """The name of the Python base image; another recipe has another name."""
    recipe = "\0".join([*bootstrap_command(Origin(source.suite), Path()), BASE_DOCKERFILE])
    return f"localhost/windlass/base:{source.suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:TAG_LENGTH]}"


def make_base(buildah: Buildah, source: Origin, log: Path) -> None:
    """Have the Python base image in the storage. Raises ClusterError when it cannot be made."""
    name = base_name(source)
    if buildah.has(name):
        return
    with step("Python base image, from Debian's packages", slow=True) as progress, buildah.scratch() as folder:
        command = bootstrap_command(source, folder / "root.tar")
        # In our own temporary folder, so that what a killed bootstrap leaves mounted there is found.
        following.follow(command, {"TMPDIR": str(folder)}, log, progress, bootstrap_where)
        _build(buildah, folder, BASE_DOCKERFILE, name, log, progress)


def bootstrap_where(line: str) -> str:
    """What a line of mmdebstrap's output says about how far it is; empty when nothing.

    >>> bootstrap_where("I: installing essential packages...")
    'installing essential packages...'
    """
    return line.removeprefix("I: ").rstrip() if line.startswith("I: ") else ""


def make_versitygw(buildah: Buildah, name: str, binary: Path, log: Path) -> None:
    """Have an image of that name with the S3 server's program where upstream's has it."""
    if buildah.has(name):
        return
    with step("S3 server's base image, from its Go program") as progress, buildah.scratch() as folder:
        shutil.copy2(binary, folder / "versitygw")
        _build(buildah, folder, BINARY_DOCKERFILE, name, log, progress)


def _build(buildah: Buildah, folder: Path, dockerfile: str, name: str, log: Path, progress: Progress) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    buildah.build(Build(dockerfile=folder / "Dockerfile", context=folder, tag=name), log, progress)
