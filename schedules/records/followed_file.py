"""Read a growing record file again and again, each time only what is new."""

from __future__ import annotations

import os
from pathlib import Path

from autoglm_tvm.schedules.records.files import Note, parse_lines
from autoglm_tvm.schedules.records.record import Record


class FollowedFile:
    """How far a file was read. The caller holds the folder's lock during `read_on`.

    Attributes
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0
        self._line = 1
        # The last line that was read: it shows that the file is still the one read until here.
        self._last = b""
        self._notes: tuple[Note, ...] = ()
        self._tail_notes: tuple[Note, ...] = ()

    @property
    def notes(self) -> tuple[Note, ...]:
        """Lines left out so far."""
        return self._notes + self._tail_notes

    def read_on(self) -> tuple[Record, ...] | None:
        """The records that came since the last call; `None` where the file was replaced.

        A last line without its end counts if it is whole, and is read again the next time: it may
        be cut off by then.
        """
        with self.path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            file.seek(self._offset - len(self._last))
            content = file.read()
        if self._offset and (inode != self._inode or not content.startswith(self._last)):
            return None
        content = content[len(self._last) :]
        end = content.rfind(b"\n") + 1
        name = str(self.path)
        lines = parse_lines(content[:end], name, self._line)
        self._line += content.count(b"\n")
        tail = parse_lines(content[end:], name, self._line)
        self._inode = inode
        self._offset += end
        if end:
            self._last = content[content.rfind(b"\n", 0, end - 1) + 1 : end]
        self._notes += lines.notes
        self._tail_notes = tail.notes
        return lines.records + tail.records
