"""A folder of records: append-only, shared by any number of tunings at once.

Every append takes the folder's lock for a moment, so two tunings on one folder lose nothing, wait
for each other only while one of them flushes, and see each other's trials after `refresh`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from autoglm_tvm.schedules.records import files
from autoglm_tvm.schedules.records.folder_lock import cannot_write, reading, writing
from autoglm_tvm.schedules.records.followed_file import FollowedFile
from autoglm_tvm.schedules.records.read import cannot_read, record_files
from autoglm_tvm.schedules.records.record import Record
from autoglm_tvm.schedules.records.record_set import RecordSet
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.locked_file import sync_folder


class RecordStore(RecordSet):
    """The records of a folder, and the way to add to them. Several threads may append.

    Parameters
    ----------
    folder
        Made where it is absent.

    Raises
    ------
    RecordFolderError
        It cannot be written to, or its file system has no locks: told now, not after an hour of
        measuring.
    UserInputError
        It is no folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = Path(os.path.abspath(folder))
        self._mutex = threading.Lock()
        self._followed: dict[Path, FollowedFile] = {}
        self._synced: set[str] = set()
        _make_folder(self.folder)
        with writing(self.folder):
            self._read_on()

    def append(self, records: Iterable[Record]) -> None:
        """Add records; when this returns, they are on the disk and known to the store.

        Raises
        ------
        RecordFolderError
            The disk is full or broken, or the folder has become unwritable. The file is as it was
            before; of records of several targets, those of one target may be written and those of
            the next not. The store can be used on.
        """
        by_file: dict[str, list[bytes]] = {}
        for record in records:
            by_file.setdefault(record.target.file_name, []).append(record.line)
        with self._mutex, writing(self.folder):
            try:
                for name, lines in by_file.items():
                    self._append_to(name, b"".join(lines))
            except OSError as error:
                raise cannot_write(self.folder, error) from error
            finally:
                self._read_on()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        with self._mutex, reading(self.folder):
            self._read_on()

    def _append_to(self, name: str, lines: bytes) -> None:
        files.append(self.folder / name, lines)
        if name not in self._synced:
            # Even where another process made the file: it may die before it syncs the folder.
            sync_folder(self.folder)
            self._synced.add(name)

    def _read_on(self) -> None:
        """Read what is new; the caller holds the lock, so that no line is half written."""
        paths = record_files(self.folder)
        if not self._follow(paths):
            # A file was pruned or removed: what it held is counted anew.
            self._followed.clear()
            self.clear()
            self._follow(paths)
        self.notes = [note for file in self._followed.values() for note in file.notes]

    def _follow(self, paths: Sequence[Path]) -> bool:
        """Add what is new; return False where a file is no longer the one that was read."""
        if self._followed.keys() - set(paths):
            return False
        for path in paths:
            try:
                new = self._followed.setdefault(path, FollowedFile(path)).read_on()
            except OSError as error:
                raise cannot_read(path, error) from error
            if new is None:
                return False
            for record in new:
                self.add(record)
        return True


def _make_folder(folder: Path) -> None:
    try:
        _make_with_parents(folder)
    except FileExistsError as error:
        raise UserInputError(
            f"{error.filename} is a file; records need a folder",
            where=str(folder),
            hint="name another folder",
        ) from None
    except OSError as error:
        raise cannot_write(folder, error) from error


def _make_with_parents(folder: Path) -> None:
    """Each new name is flushed to the disk: the records inside are as safe as their folder."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_with_parents(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
