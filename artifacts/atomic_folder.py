"""Replace a folder as one step: after a crash at any moment the old one or the new one is there.

The new content grows in a hidden folder beside the goal. ``renameat2(RENAME_EXCHANGE)`` then swaps
the two names in one step of the file system (Linux man-pages, rename(2)).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoglm_tvm.targets.errors import AutoglmError, UserInputError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replace_folder(directory: Path, owned_if: str) -> Iterator[Path]:
    """Give a temporary folder to fill; move it to ``directory`` when the block ends without error.

    Parameters
    ----------
    directory
        The folder to create or replace. Its parents are created.
    owned_if
        An existing folder is only replaced if it is empty or holds a file of this name, so that a
        mistyped path never costs the user a folder of something else.

    Raises
    ------
    UserInputError
        The folder holds something else, cannot be written, or the disk is full. What was there
        before is untouched.
    """
    directory = Path(os.path.abspath(directory))
    check_replaceable(directory, owned_if)
    try:
        # A name that stands for a folder elsewhere: that folder is replaced, the name is kept.
        directory = directory.resolve() if directory.is_symlink() else directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(directory)
        work, lock = _locked_folder(directory)
    except OSError as error:
        raise _cannot_write(directory, error) from error
    try:
        yield work
        work.chmod(0o755)
        _sync(work)
        _move_into_place(work, directory)
    except OSError as error:
        if _is_about(error, work):
            raise _cannot_write(directory, error) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


def check_replaceable(directory: Path, owned_if: str) -> None:
    """Raise `UserInputError` if `replace_folder` would refuse the folder for what it holds."""
    try:
        if directory.is_dir():
            if (directory / owned_if).exists() or not any(directory.iterdir()):
                return
            what = f"the folder exists and is no bundle (it has no {owned_if})"
        elif os.path.lexists(directory):
            what = "a file of this name exists"
        else:
            return
    except OSError as error:
        raise _cannot_write(directory, error) from error
    raise UserInputError(what, where=str(directory), hint="name another folder with -o")


def _prefix(directory: Path) -> str:
    return f".{directory.name}.new-"


def _locked_folder(directory: Path) -> tuple[Path, int]:
    """Make the temporary folder; its lock tells others that it is in use and dies with us."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=directory.parent))
        # Another run may take it for abandoned, and remove it, just before it is locked.
        try:
            lock = os.open(work, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if work.exists():
            return work, lock
        os.close(lock)


def _remove_abandoned(directory: Path) -> None:
    """Delete what a killed run left beside the goal; a folder still locked is in use."""
    for left in directory.parent.glob(f"{glob.escape(_prefix(directory))}*"):
        try:
            lock = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)


def _sync(work: Path) -> None:
    for path in [*work.rglob("*"), work]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move_into_place(work: Path, directory: Path) -> None:
    try:
        # Works where the goal is absent or an empty folder.
        work.rename(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(work, directory)
    parent = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _exchange(first: Path, second: Path) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, "this C library has no renameat2")
    failed = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot swap the new folder in: {os.strerror(number)}")


def _is_about(error: OSError, work: Path) -> bool:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOSYS, errno.EINVAL, errno.EROFS):
        return True
    names = (error.filename, error.filename2)
    return any(str(name).startswith(str(work)) for name in names if name is not None)


def _cannot_write(directory: Path, error: OSError) -> AutoglmError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full; nothing was changed"
        hint = f"free some space below {directory.parent}, or name another folder with -o"
    elif error.errno in (errno.ENOSYS, errno.EINVAL):
        what = "this file system cannot swap two folders in one step; nothing was changed"
        hint = "delete the old bundle first, or name another folder with -o"
    else:
        what = f"cannot write there: {error.strerror or error}"
        hint = "name a folder that you may write to with -o"
    return UserInputError(what, where=str(directory), hint=hint)
