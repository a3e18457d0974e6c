"""Record files: append as one step that survives a kill, read what is whole.

A file is lines of records, each ended. Only the last line can be torn, by a writer that died in the
middle: readers leave it out, and the next writer cuts it off.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.schedules.records.record import Record, UnknownFormatError, parse_record

SUFFIX = ".jsonl"
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Note:
    """A line that was left out, and why; `line` counts from 1."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Lines:
    """What some lines hold.

    Attributes
    ----------
    records
        In the order of the lines.
    notes
        Lines left out.
    foreign
        Whole lines of other formats, which a rewriter keeps as they are.
    """

    records: tuple[Record, ...]
    notes: tuple[Note, ...]
    foreign: tuple[bytes, ...]


def parse_lines(content: bytes, file: str, first_line: int = 1) -> Lines:
    """Read lines, of which the last one may lack its end; `file` names them in notes."""
    records: list[Record] = []
    notes: list[Note] = []
    foreign: list[bytes] = []
    *ended, last = content.split(b"\n")
    for number, line in enumerate([*ended, last], first_line):
        if not line.strip():
            continue
        try:
            records.append(parse_record(line))
        except UnknownFormatError as error:
            notes.append(Note(file, number, f"left out: {error}"))
            foreign.append(line + b"\n")
        except ValueError as error:
            torn = number == first_line + len(ended)
            what = "its writer died in the middle; the next write removes it" if torn else error
            notes.append(Note(file, number, f"left out: {what}"))
    return Lines(tuple(records), tuple(notes), tuple(foreign))


def append(path: Path, lines: bytes) -> None:
    """Append whole lines and flush them to the disk; the caller holds the folder's lock.

    A torn last line is removed first. `OSError` leaves the file as it was, but for that.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        lines = _repair(file) + lines
        size = os.fstat(file).st_size
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file, size)
                os.fsync(file)
            raise
    finally:
        os.close(file)


def _repair(file: int) -> bytes:
    """Cut a torn last line off; return what has to be written before the next line."""
    size = os.fstat(file).st_size
    last = _last_line(file, size)
    if not last:
        return b""
    try:
        parse_record(last)
    except UnknownFormatError:
        return b"\n"
    except ValueError:
        os.ftruncate(file, size - len(last))
        return b""
    return b"\n"


def _last_line(file: int, size: int) -> bytes:
    """What stands behind the last end of a line."""
    reach = _CHUNK
    while True:
        start = max(0, size - reach)
        tail = os.pread(file, size - start, start)
        if not start or b"\n" in tail:
            return tail.rpartition(b"\n")[2]
        reach *= 4
