"""`dockerfiles/runtime.py`: what is copied from a system, and that links go with what they point to."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from scripts import script_at


@pytest.fixture
def script() -> ModuleType:
    return script_at("dockerfiles/runtime.py")


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A system with links of all makes: of a folder, of a file from elsewhere, of one link to another, absolute, broken."""
    root = tmp_path / "system"
    (root / "usr" / "lib" / "python" / "test").mkdir(parents=True)
    (root / "usr" / "lib" / "libc.so.6.1").write_text("libc")
    (root / "usr" / "lib" / "libc.so.6").symlink_to("libc.so.6.1")
    (root / "usr" / "lib" / "libc.so").symlink_to("../lib/libc.so.6")
    (root / "lib").symlink_to("usr/lib")
    (root / "etc").mkdir()
    (root / "etc" / "site.py").write_text("site = 1\n")
    (root / "etc" / "itself").symlink_to(".")
    (root / "usr" / "lib" / "python" / "site.py").symlink_to(root / "etc" / "site.py")
    (root / "usr" / "lib" / "python" / "gone.py").symlink_to("nowhere.py")
    (root / "usr" / "lib" / "python" / "test" / "test_all.py").write_text("")
    (root / "usr" / "lib" / "python" / "os.py").write_text("os = 1\n")
    return root


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("etc/site.py", {"etc/site.py"}, id="a file"),
        pytest.param(
            "lib/libc.so",
            {"lib", "usr/lib/libc.so", "usr/lib/libc.so.6", "usr/lib/libc.so.6.1"},
            id="a link to a link in a folder that is one: all of them, and the file once",
        ),
        pytest.param(
            "usr/lib/python",
            {"usr/lib/python/os.py", "usr/lib/python/site.py", "etc/site.py", "usr/lib/python/gone.py"},
            id="a folder but for what is left out, and what its links point to",
        ),
        pytest.param("usr/share", set(), id="a folder that this system does not have"),
    ],
)
def test_what_is_copied_of(path: str, found: set[str], script: ModuleType, system: Path, tmp_path: Path) -> None:
    copy = script.Copy(tmp_path / "copy")
    copy.add(system / path, ("test",))
    copy.add(system / path, ("test",))  # a second time changes nothing
    root = copy.place(system)
    assert {str(file.relative_to(root)) for file in root.rglob("*") if file.is_symlink() or file.is_file()} == found


def test_a_link_to_the_folder_that_it_is_in_is_one_link(script: ModuleType, system: Path, tmp_path: Path) -> None:
    copy = script.Copy(tmp_path / "copy")
    copy.add(system / "etc")
    assert sorted(file.name for file in copy.place(system / "etc").iterdir()) == ["itself", "site.py"]


def test_libraries_are_those_that_the_loader_would_take(script: ModuleType) -> None:
    named = list(script.named_libraries())
    assert {"libc.so.6", "libstdc++.so.6"} <= {path.name for path in named}
    needed = script.needed_by([script.found("sh"), *named])
    assert {"libc.so.6", "libm.so.6"} <= {path.name for path in needed}
    assert any(path.name.startswith("ld-linux") for path in needed)
    assert all(path.is_file() for path in (*named, *needed))


def test_a_program_that_is_missing_is_named(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no program windlass-nonexistent"):
        script.found("windlass-nonexistent")


def test_only_packages_with_a_file_in_the_copy_are_listed(
    script: ModuleType, system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = {
        "libc6:amd64": ["", "lib", "lib/libc.so.6.1"],  # by the name that a folder had before it became a link
        "libc6-dev": ["usr/lib/libc.so.6"],  # a link alone
        "perl": ["usr/bin/perl"],
    }
    packages = tmp_path / "dpkg"
    (packages / "info").mkdir(parents=True)
    for name, files in lists.items():
        (packages / "info" / f"{name}.list").write_text("".join(f"{system / file}\n" for file in files))
    entries = ["Package: libc6\nVersion: 2\n", "Package: libc6-dev\nVersion: 2\n", "Package: perl\nVersion: 5\n"]
    (packages / "status").write_text("\n".join(entries))
    monkeypatch.setattr(script, "PACKAGES", packages)
    copy = script.Copy(tmp_path / "copy")
    copy.add(system / "lib/libc.so.6")
    script.list_packages(copy)
    assert copy.place(packages / "status").read_text() == "Package: libc6\nVersion: 2\n\n"
