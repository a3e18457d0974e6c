"""Small files that several processes read and change: whole at any time, one change at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one who changes the file, which may not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file: after a kill or power loss it is the old or the new one.

    One process at a time may do so. Texts are written as UTF-8.

    Raises
    ------
    OSError
        The disk is full, or there is no such folder, or it cannot be written; the old content
        stands.
    """
    # Hidden, and of no suffix that readers look for; what a killed run left of it is written over.
    part = path.with_name(f".{path.name}.new")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk: a new file is safe only after this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
