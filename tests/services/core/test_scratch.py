"""What a program keeps while it runs goes with it, however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from children import bound_to_us

from windlass_core.scratch import own_scratch, shared_scratch

# Says where its scratch is, keeps a file there, and another as libraries do, and ends when its input does.
PROGRAM = """
import os, subprocess, sys, tempfile
from windlass_core.scratch import own_scratch, shared_scratch
with own_scratch():
    open(tempfile.mkdtemp() + "/file", "w").close()
    print(tempfile.gettempdir(), shared_scratch(), flush=True)
    if len(sys.argv) > 1:
        subprocess.run([sys.executable, "-c", os.environ["PROGRAM"]])
    sys.stdin.read()
"""


class Program:
    """One that is running, and one that it has started where it was asked to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.own, self.shared = self._told()

    def _told(self) -> tuple[Path, Path]:
        assert self._process.stdout
        own, shared = map(Path, self._process.stdout.readline().split())
        return own, shared

    def child(self) -> tuple[Path, Path]:
        """Own and shared scratch of the one that it started."""
        return self._told()

    def end(self) -> None:
        """Let it end by itself."""
        self._process.communicate()
        assert self._process.returncode == 0

    def kill(self) -> None:
        """End it so that it can do nothing any more."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts a program whose temporary files go below `tmp_path`."""
    with ExitStack() as stack:

        def begin(*arguments: str) -> Program:
            process = stack.enter_context(
                subprocess.Popen(
                    bound_to_us([sys.executable, "-c", PROGRAM, *arguments]),
                    env=os.environ | {"TMPDIR": str(tmp_path), "PROGRAM": PROGRAM},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return Program(process)

        yield begin


def test_a_program_that_ends_leaves_nothing(start: Callable[..., Program], tmp_path: Path) -> None:
    program = start()
    assert (program.own.parent, program.shared, len(list(program.own.iterdir()))) == (tmp_path, program.own, 1)
    program.end()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_is_removed_by_the_next_one(start: Callable[..., Program], tmp_path: Path) -> None:
    killed = start()
    killed.kill()
    assert list(tmp_path.iterdir()) == [killed.own]
    following = start()
    assert list(tmp_path.iterdir()) == [following.own]


def test_what_a_program_that_lives_has_is_left_alone(start: Callable[..., Program], tmp_path: Path) -> None:
    programs = [start() for _ in range(3)]
    assert set(tmp_path.iterdir()) == {program.own for program in programs}
    assert all(list(program.own.iterdir()) for program in programs)


def test_what_others_keep_in_the_same_place_is_left_alone(start: Callable[..., Program], tmp_path: Path) -> None:
    (tmp_path / "windlass-scratch").mkdir()
    (tmp_path / "windlass-scratch-file").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (tmp_path / "windlass-scratch-link").symlink_to(elsewhere)
    start().end()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"windlass-scratch", "windlass-scratch-file", "windlass-scratch-link", "elsewhere"}
    assert (elsewhere / "file").exists()


def test_a_program_that_is_started_by_another_has_its_scratch_inside_and_shares_that_of_the_other(
    start: Callable[..., Program], tmp_path: Path
) -> None:
    program = start("and another")
    own, shared = program.child()
    assert (own.parent, shared) == (program.own, program.own)
    program.end()
    assert list(tmp_path.iterdir()) == []


def test_all_is_as_before_when_the_context_ends_and_where_no_folder_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.environ.get("TMPDIR")
    with own_scratch():
        assert Path(tempfile.gettempdir()).parent == tmp_path
        assert os.environ["TMPDIR"] == tempfile.gettempdir()
    assert (os.environ.get("TMPDIR"), tempfile.tempdir, list(tmp_path.iterdir())) == (before, str(tmp_path), [])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with own_scratch():
        assert (os.environ.get("TMPDIR"), shared_scratch()) == (before, tmp_path / "none")
