"""Go programs in the cache: whole or absent, kept per version, made again only when their definition changes."""

from __future__ import annotations

import os
from pathlib import Path

import binaries
import pytest
import toolchain
from binaries import Module
from console import ClusterError
from layout import Layout

MODULE = Module("sample", packages=("./...",), aliases={"tool": ("tool-a", "tool-b")})
# Stands for Go: makes one program in the folder given by -o, and notes that it was called.
GOOD_COMPILER = """#!/bin/sh
for argument; do case $argument in -o=*) folder=${argument#-o=};; esac; done
echo sample/package >&2
echo "$@" > "$folder/tool"
echo called >> "$CALLS"
"""
BAD_COMPILER = """#!/bin/sh
echo 'sample/package' >&2
echo 'main.go:7: undefined: nonsense' >&2
exit 1
"""


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    return Layout(cache=tmp_path / "cache", state=tmp_path / "state")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(binaries, "HERE", tmp_path)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    folder = tmp_path / "go" / "sample"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module sample\n")
    return folder


def use_compiler(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    program = folder / "compiler"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setattr(toolchain, "go", lambda _: program)


def calls(tmp_path: Path) -> int:
    file = tmp_path / "calls"
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.usefixtures("source")
def test_a_build_gives_the_programs_under_all_their_names(
    where: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compiler(monkeypatch, tmp_path, GOOD_COMPILER)
    folder = binaries.build(MODULE, where)
    assert folder == MODULE.folder(where)
    assert sorted(path.name for path in folder.iterdir()) == ["tool", "tool-a", "tool-b"]
    assert (folder / "tool-b").read_text() == (folder / "tool").read_text()


@pytest.mark.usefixtures("source")
def test_a_version_that_is_there_is_not_built_again(where: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_compiler(monkeypatch, tmp_path, GOOD_COMPILER)
    assert binaries.build(MODULE, where) == binaries.build(MODULE, where)
    assert calls(tmp_path) == 1


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        pytest.param("go.mod", True, id="a pinned version makes another build"),
        pytest.param("go.sum", True, id="a checksum makes another build"),
        pytest.param("cmd/tool/main.go", True, id="a main package makes another build"),
        pytest.param("README.md", False, id="a text does not"),
    ],
)
def test_what_makes_another_build(source: Path, file: str, changes: bool) -> None:
    before = MODULE.digest
    path = source / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("// changed\n")
    assert (MODULE.digest != before) is changes


@pytest.mark.usefixtures("source")
def test_a_build_that_fails_says_why_and_leaves_nothing_in_the_cache(
    where: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compiler(monkeypatch, tmp_path, BAD_COMPILER)
    with pytest.raises(ClusterError, match="undefined: nonsense") as caught:
        binaries.build(MODULE, where)
    assert str(where.log("build-sample")) in str(caught.value)
    assert list((where.cache / "bin").iterdir()) == []


@pytest.mark.usefixtures("source")
def test_what_a_killed_build_left_is_removed_but_not_what_a_running_one_makes(
    where: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compiler(monkeypatch, tmp_path, GOOD_COMPILER)
    dead = where.cache / "bin" / ".sample-0123.4194305.partial"  # above the largest process id there is
    running = where.cache / "bin" / f".sample-0123.{os.getppid()}.partial"
    dead.mkdir(parents=True)
    running.mkdir()
    binaries.build(MODULE, where)
    assert not dead.exists()
    assert running.exists()


def test_only_the_last_builds_of_a_module_are_kept(
    where: Layout, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compiler(monkeypatch, tmp_path, GOOD_COMPILER)
    built = []
    for version in range(binaries.KEPT_BUILDS + 2):
        (source / "go.mod").write_text(f"module sample // {version}\n")
        built.append(binaries.build(MODULE, where))
        os.utime(built[-1], (version, version))
    assert [folder.exists() for folder in built] == [False] * 2 + [True] * binaries.KEPT_BUILDS


def test_kubernetes_learns_its_version_from_the_pinned_module() -> None:
    flags = binaries.linker_flags("require (\n\tk8s.io/kubernetes v1.35.4\n\tk8s.io/api v0.35.4\n)\n").split()
    assert "-X=k8s.io/component-base/version.gitVersion=v1.35.4" in flags
    assert "-X=k8s.io/component-base/version.gitMajor=1" in flags
    assert "-X=k8s.io/component-base/version.gitMinor=35" in flags


def test_a_module_without_kubernetes_gets_no_version() -> None:
    assert binaries.linker_flags("module sample\n") == "-s -w"


@pytest.mark.parametrize("module", binaries.ALL, ids=lambda module: module.name)
def test_every_module_is_pinned_with_checksums(module: Module) -> None:
    assert (module.source / "go.mod").is_file()
    assert (module.source / "go.sum").is_file()


@pytest.mark.parametrize(
    ("said", "version"),
    [
        pytest.param("go1.26.8\n", (1, 26), id="a release"),
        pytest.param("go1.27rc1", (1, 27), id="a candidate"),
        pytest.param("devel +abc", (0,), id="no release counts as too old"),
        pytest.param("", (0,), id="no answer counts as too old"),
    ],
)
def test_the_version_of_go_is_read(said: str, version: tuple[int, ...]) -> None:
    assert toolchain.parse_version(said) == version
