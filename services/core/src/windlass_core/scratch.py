"""Where a program keeps what it needs only while it runs, so that nothing of it stays when the program is killed.

    own_scratch     the folder that `tempfile`, and all that is started from here, uses while the program runs
    shared_scratch  where the processes of one pod find each other's files

A program that is killed removes nothing, and the volume for temporary files of a pod outlives its containers. So each program
has one folder there, locked while the program lives; the kernel takes the lock from a dead one, and the next program that
starts in the same place removes what it left. A program that is started by another has its folder inside that of the other.

Uses the standard library alone, and knows nothing of what is kept.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "windlass-scratch-"
_VARIABLE = "TMPDIR"


@contextmanager
def own_scratch() -> Iterator[None]:
    """Give this program a folder for temporary files while the context lasts; those of dead programs are removed.

    Where none can be made, all stays as it is: whoever needs a temporary file there fails, and knows what for.
    """
    before, chosen_before = os.environ.get(_VARIABLE), tempfile.tempdir
    try:
        above = Path(tempfile.gettempdir())
        _remove_abandoned(above)
        folder, lock = _locked_folder(above)
    except OSError:
        yield
        return
    os.environ[_VARIABLE] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = chosen_before
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def shared_scratch() -> Path:
    """The folder of the program that started this one, or this program's own when it was started by none of ours."""
    own = Path(tempfile.gettempdir())
    return own.parent if own.parent.name.startswith(_PREFIX) else own


def _locked_folder(above: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above))
        # Another program may remove it in the moment before it is locked.
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                folder.stat()
            except OSError:
                os.close(lock)
                raise
            return folder, lock


def _remove_abandoned(above: Path) -> None:
    for folder in above.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # of another user, or removed by another program meanwhile
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
