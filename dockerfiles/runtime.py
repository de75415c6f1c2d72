"""Copy to an empty folder what of a system runs Python programs, for an image that has nothing else.

Python with its standard library, the shared libraries that these need and that wheels may take for granted, certificates, time
zones, names of users and services, and a handful of programs. Left behind: installers, package managers, Perl, and all that
comes with them. Where dpkg keeps a list of packages, the copy has one of those in it, for who looks for known faults.
Knows Debian's folders, and Python's by itself, so that it works for Debian's Python and for that of python:slim.

    python3 runtime.py /runtime
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

COMMAND_SECONDS = 60
# What RUN in a Dockerfile needs, and who looks around in a pod.
PROGRAMS = ("sh", "cat", "find", "ls", "rm")
# What a wheel for Linux may ask of the system (PEP 600), and what glibc loads by itself to look up names.
LIBRARIES = (
    "libc.so.6", "libm.so.6", "libmvec.so.1", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1", "libresolv.so.2",
    "libnss_dns.so.2", "libnss_files.so.2", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libexpat.so.1",
)  # fmt: skip
FILES = (
    "/etc/group", "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd",
    "/etc/protocols", "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/usr/lib/locale/C.utf8", "/usr/lib/ssl/certs",
    "/usr/lib/ssl/openssl.cnf", "/usr/share/zoneinfo",
)  # fmt: skip
# Of the standard library: what installs, tests or draws windows, other packages' place, databases of old, and a service's
# client that Python itself drops in 3.13.
LEFT_OUT = (
    "ensurepip", "distutils", "lib2to3", "idlelib", "pydoc_data", "test", "tests", "_test*", "_ctypes_test*", "_xxtest*",
    "xxlimited*", "tkinter", "_tkinter*", "turtle*", "dist-packages", "site-packages", "config-3*", "_dbm*", "_gdbm*", "nis*",
)  # fmt: skip
# The same zones once more, and once counted with leap seconds.
ZONES_LEFT_OUT = ("posix", "right")
PACKAGES = Path("/var/lib/dpkg")


class Copy:
    """A growing copy of parts of this system below `target`."""

    def __init__(self, target: Path) -> None:
        """Nothing is copied yet."""
        self.target = target
        self._done: set[Path] = set()

    def place(self, path: Path) -> Path:
        """Where a path of the system is in the copy."""
        return self.target / path.relative_to("/")

    def add(self, path: Path, left_out: tuple[str, ...] = ()) -> None:
        """Copy a file, or a folder but for names of these patterns, with all links on the way; none where there is none.

        What was copied before stays as it is: a link in a folder may lead back to it.
        """
        real = self._linked(path)
        if real in self._done:
            return
        self._done.add(real)
        place = self.place(real)
        if real.is_dir():
            for entry in sorted(real.iterdir()):
                if not any(map(entry.match, left_out)):
                    self.add(entry, left_out)
        elif real.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(real, place)

    def _linked(self, path: Path) -> Path:
        """The path without symbolic links, each of which the copy has afterwards."""
        real = Path("/")
        for name in path.parts[1:]:
            real /= name
            if real.is_symlink():
                link, goal = self.place(real), real.readlink()
                if not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(goal)
                real = self._linked(Path(os.path.normpath(real.parent / goal)))
        return real


def copy_system(target: Path) -> None:
    """Copy what the module's docstring names; `target` is not there yet."""
    copy = Copy(target)
    for folder in Path("/").iterdir():
        if folder.is_symlink():  # /bin and /lib, by which programs are called and find their loader
            copy.place(folder).parent.mkdir(parents=True, exist_ok=True)
            copy.place(folder).symlink_to(folder.readlink())
    standard_library = Path(sysconfig.get_path("stdlib"))
    programs = [*map(found, PROGRAMS), *pythons()]
    libraries = list(named_libraries())
    modules = [path for path in (standard_library / "lib-dynload").glob("*.so") if not any(map(path.match, LEFT_OUT))]
    for path in [*programs, *libraries, *needed_by([*programs, *libraries, *modules]), *map(Path, FILES)]:
        copy.add(path, ZONES_LEFT_OUT)
    copy.add(standard_library, LEFT_OUT)
    # python:slim has no byte code, and where the root file system is read-only each start would make it anew.
    compileall.compile_dir(copy.place(standard_library), stripdir=target, prependdir="/", quiet=1)
    copy.place(Path("/tmp")).mkdir(exist_ok=True)  # noqa: S108 - the folder itself, not a file in it
    copy.place(Path("/tmp")).chmod(0o1777)  # noqa: S108
    list_packages(copy)


def found(program: str) -> Path:
    """Where a program is. Raises SystemExit when the system has none of that name."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"this system has no program {program}")
    return Path(path)


def pythons() -> list[Path]:
    """The names of this Python, but for those of virtual environments."""
    names = ("python", "python3", f"python3.{sys.version_info.minor}")
    return [path for name in names if (path := Path(sys.base_prefix) / "bin" / name).exists()]


def named_libraries() -> Iterator[Path]:
    """The files of LIBRARIES, as far as this system has them."""
    known = dict(re.findall(r"^\s*(\S+) \(.*\) => (\S+)$", said("ldconfig", "-p"), re.MULTILINE)[::-1])
    return (Path(known[name]) for name in LIBRARIES if name in known)


def needed_by(programs: list[Path]) -> list[Path]:
    """The shared libraries that programs and libraries need, and the loader, by its own account."""
    return sorted(map(Path, set(re.findall(r"(/\S+) \(0x", said("ldd", *map(str, programs))))))


def list_packages(copy: Copy) -> None:
    """Give the copy dpkg's entries of the packages that it has a file of, and what says under which licences they are."""
    if not (PACKAGES / "status").is_file():
        return
    names = {listed.stem.partition(":")[0] for listed in (PACKAGES / "info").glob("*.list") if has_part_of(copy, listed)}
    for name in names:
        copy.add(Path("/usr/share/doc") / name / "copyright")
    entries = (PACKAGES / "status").read_text().split("\n\n")
    status = copy.place(PACKAGES / "status")
    status.parent.mkdir(parents=True)
    kept = [entry for entry in entries if entry.partition("\n")[0].removeprefix("Package: ") in names]
    status.write_text("".join(f"{entry}\n\n" for entry in kept))


def has_part_of(copy: Copy, listed: Path) -> bool:
    """Whether the copy has a file, and not only a link, of the package with this list of files."""
    files = (Path(line) for line in listed.read_text().splitlines())
    places = (copy.place(file.parent.resolve() / file.name) for file in files)
    return any(place.is_file() and not place.is_symlink() for place in places)


def said(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMMAND_SECONDS).stdout


if __name__ == "__main__":
    copy_system(Path(sys.argv[1]))
