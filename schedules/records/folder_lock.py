"""The lock of a record folder: many may read at once, one may write."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autoglm_tvm.targets.errors import UserInputError

LOCK_NAME = ".lock"
# A writer holds it for milliseconds; whoever holds it longer was stopped, or his disk hangs.
WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.002
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)


class RecordFolderError(UserInputError):
    """A record folder cannot be read or written; what was committed before is intact."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one who writes or reads the folder.

    Raises
    ------
    RecordFolderError
        Its file system has no locks, the lock cannot be made, or another process keeps it.
    """
    try:
        # Readable and writable: NFS gives an exclusive lock to no other kind of file.
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with _held(folder, lock, fcntl.LOCK_EX):
        yield


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep writers away; where there is no lock, or none can be had, the folder is read anyway."""
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        # Nobody has written here, or only somebody with other rights: a read-only folder.
        yield
        return
    with _held(folder, lock, fcntl.LOCK_SH):
        yield


def cannot_write(folder: Path, error: OSError) -> RecordFolderError:
    """Say what keeps records from being written, and that the earlier ones are intact."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what = "the disk is full: the new records were not written, those written before are intact"
        hint = f"free some space for {folder} and go on with --resume, or name another folder"
    elif error.errno == errno.ENOENT:
        what = "the record folder was removed meanwhile"
        hint = f"mkdir -p {folder}, or name another folder; --resume goes on with what it holds"
    else:
        what = f"cannot write records there: {error.strerror or error}"
        hint = "name a folder that you may write to"
    return RecordFolderError(what, where=str(folder), hint=hint)


@contextmanager
def _held(folder: Path, lock: int, kind: int) -> Iterator[None]:
    try:
        _take(folder, lock, kind)
        try:
            yield
        finally:
            # Said aloud: a process forked meanwhile has the file open too, and would keep the lock.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


def _take(folder: Path, lock: int, kind: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _kept_by_another(folder) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise cannot_write(folder, error) from error
            if kind == fcntl.LOCK_SH:
                return
            raise _without_locks(folder) from error
        time.sleep(_POLL_SECONDS)


def _kept_by_another(folder: Path) -> RecordFolderError:
    return RecordFolderError(
        f"another process has kept the record folder locked for {WAIT_SECONDS:.0f} s",
        where=str(folder),
        hint=f"find it with: fuser -v {folder / LOCK_NAME}; a stopped one goes on with kill -CONT",
    )


def _without_locks(folder: Path) -> RecordFolderError:
    return RecordFolderError(
        "this file system has no locks (flock), which keep two writers apart",
        where=str(folder),
        hint="write to a folder on a local disk; afterwards: autoglm-tvm records merge THERE "
        f"--into {folder}, on a machine that mounts it with locks",
    )
