"""Go programs built from pinned modules and kept, per version, in the cache.

Each folder of `go/` is one module: its `go.mod`, `go.sum` and main packages say all that goes into its programs, so
their hash names the folder in the cache. Knows: modules and the Go tool. Must not know: what the programs are for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import following
import toolchain
from console import Progress, step
from layout import HERE, Layout

KEPT_BUILDS = 3  # per module; a few hundred MB each, so that changing between branches does not build again
BUILD_FLAGS = (
    "-trimpath",
    "-buildvcs=false",  # a commit of this repository changes nothing in these programs
    "-mod=readonly",
    "-gcflags=all=-dwarf=false",  # nobody debugs them, and it saves a tenth of the compiler's work
)


@dataclass(frozen=True)
class Module:
    """A folder under `go/`, the packages to build in it, and the other names by which a program is called."""

    name: str
    packages: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """Where the module's go.mod is."""
        return HERE / "go" / self.name

    @property
    def digest(self) -> str:
        """Changes when a pinned version, a main package or a build flag does."""
        flags = (*BUILD_FLAGS, linker_flags((self.source / "go.mod").read_text()))
        content = hashlib.sha256("\0".join((*flags, *self.packages, repr(self.aliases))).encode())
        for path in sorted(self.source.rglob("*")):
            if path.suffix in {".go", ".mod", ".sum"}:
                content.update(f"\0{path.relative_to(self.source)}\0".encode() + path.read_bytes())
        return content.hexdigest()[:12]

    def folder(self, layout: Layout) -> Path:
        """Where the built programs are, or will be."""
        return layout.cache / "bin" / f"{self.name}-{self.digest}"


KUBERNETES = Module(
    "kubernetes",
    packages=("./cmd/...", "helm.sh/helm/v3/cmd/helm"),
    aliases={
        "kube": (
            "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
        )
    },
)  # fmt: skip
VERSITYGW = Module("versitygw", packages=("github.com/versity/versitygw/cmd/versitygw",))
ALL = (KUBERNETES, VERSITYGW)


def build(module: Module, layout: Layout) -> Path:
    """The folder of the module's programs, built first when this version is not in the cache.

    Whatever happens meanwhile, the folder is either whole or absent. Raises ClusterError when the build fails.
    """
    folder = module.folder(layout)
    if folder.is_dir():
        os.utime(folder)  # the age in `_forget_old_builds` is that of the last use
        return folder
    program = toolchain.go(layout)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        _start_from_last_build(module, folder.parent, partial)
        with step(f"Build {module.name} from source ({folder.name})", slow=True) as progress:
            _compile(program, module, partial, layout, progress)
        for target, names in module.aliases.items():
            for name in names:
                (partial / name).unlink(missing_ok=True)
                (partial / name).symlink_to(target)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _forget_old_builds(module, folder.parent)
    return folder


def build_binaries(layout: Layout) -> dict[str, Path]:
    """Build every module, the one that the cluster waits for first; module name to folder of programs."""
    return {module.name: build(module, layout) for module in ALL}


def _builds(module: Module, folder: Path) -> list[Path]:
    """Finished builds of the module, newest first."""
    return sorted(folder.glob(f"{module.name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)


def _start_from_last_build(module: Module, folder: Path, partial: Path) -> None:
    """Copy the last build, because Go links a program again only when it differs."""
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.glob(f".{module.name}-*.partial"):
        if not Path(f"/proc/{abandoned.name.split('.')[-2]}").exists():  # its builder was killed
            shutil.rmtree(abandoned, ignore_errors=True)
    for last in _builds(module, folder)[:1]:
        shutil.copytree(last, partial, symlinks=True)


def _forget_old_builds(module: Module, folder: Path) -> None:
    for old in _builds(module, folder)[KEPT_BUILDS:]:
        shutil.rmtree(old, ignore_errors=True)


def linker_flags(go_mod: str) -> str:
    """Strip symbols, and let Kubernetes and helm know the version of Kubernetes, which their sources do not hold."""
    flags = ["-s", "-w"]
    pinned = re.search(r"^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)", go_mod, re.MULTILINE)
    if pinned:
        values = {"gitVersion": pinned[1], "gitMajor": pinned[2], "gitMinor": pinned[3]}
        flags += [f"-X=k8s.io/component-base/version.{name}={value}" for name, value in values.items()]
        # Without these helm takes every cluster that it is not connected to for Kubernetes 1.20.
        for package in ("chartutil", "lint/rules"):
            prefix = f"-X=helm.sh/helm/v3/pkg/{package}.k8sVersion"
            flags += [f"{prefix}Major={pinned[2]}", f"{prefix}Minor={pinned[3]}"]
    return " ".join(flags)


def _compile(program: Path, module: Module, output: Path, layout: Layout, progress: Progress) -> None:
    work = output / ".work"  # gigabytes that a killed Go leaves behind; here they are found by the next build
    work.mkdir(parents=True, exist_ok=True)
    link = linker_flags((module.source / "go.mod").read_text())
    command = [str(program), "build", "-v", *BUILD_FLAGS, f"-ldflags={link}", f"-o={output}/", *module.packages]
    environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "", "GOTMPDIR": str(work)}
    log = layout.log(f"build-{module.name}")
    following.follow(command, environment, log, progress, where(), folder=module.source)
    shutil.rmtree(work)


def where() -> Callable[[str], str]:
    """Reads how far a build is from the lines of `go build -v`: it counts what was fetched and compiled.

    >>> read = where()
    >>> read("go: downloading k8s.io/api v0.35.4"), read("k8s.io/api/core/v1"), read("main.go:7: undefined: nonsense")
    ('1 modules fetched, 0 packages compiled', '1 modules fetched, 1 packages compiled', '')
    """
    counts = {"fetched": 0, "compiled": 0}

    def read(line: str) -> str:
        if line.startswith("go: downloading"):
            counts["fetched"] += 1
        elif re.fullmatch(r"[\w.~/-]+", line.rstrip("\n")):
            counts["compiled"] += 1
        else:
            return ""
        return f"{counts['fetched']} modules fetched, {counts['compiled']} packages compiled"

    return read
