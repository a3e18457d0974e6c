"""Folders that are made once per user and machine, and then only read."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from autoglm_tvm.targets.errors import UserInputError


def cache_root() -> Path:
    """Return ``$AUTOGLM_TVM_CACHE``, else ``autoglm-tvm`` in the user's cache folder."""
    if chosen := os.environ.get("AUTOGLM_TVM_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "autoglm-tvm"


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the cache's folder ``name``, made by ``fill(folder)`` if it is not there yet.

    ``name`` must tell everything that the content depends on (versions, hashes). Processes that
    want the same folder wait for the first one; a folder is there whole or not at all.

    Raises
    ------
    UserInputError
        The cache cannot be written.
    """
    goal = cache_root() / name
    if goal.is_dir():
        return goal
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        lock = (goal.parent / f".{goal.name}.lock").open("w")
    except OSError as error:
        raise UserInputError(
            f"cannot write to the cache: {error.strerror}",
            where=str(goal.parent),
            hint="set AUTOGLM_TVM_CACHE to a folder that you may write to",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not goal.is_dir():
            _make(goal, fill)
    return goal


def _make(goal: Path, fill: Callable[[Path], None]) -> None:
    prefix = f".{goal.name}.new-"
    # We hold the lock, so whatever is there was left by a run that was killed.
    for left in goal.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=goal.parent))
    try:
        fill(work)
        work.rename(goal)
    finally:
        shutil.rmtree(work, ignore_errors=True)
