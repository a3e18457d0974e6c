"""Records of a folder or of one file, to be read only."""

from __future__ import annotations

from pathlib import Path

from autoglm_tvm.schedules.records.files import SUFFIX, Lines, parse_lines
from autoglm_tvm.schedules.records.folder_lock import reading
from autoglm_tvm.schedules.records.record_set import RecordSet
from autoglm_tvm.targets.errors import UserInputError

SHIPPED = Path(__file__).parent / "shipped"
_HINT = "name a folder that `autoglm-tvm tune --records` wrote, or a file of `records export`"


def read_records(source: Path) -> RecordSet:
    """Read a record folder, or one record file.

    Raises
    ------
    UserInputError
        There is no such folder or file, or it cannot be read. Lines that are no records are no
        error: they are left out and stand in the `notes` of the result.
    """
    files = record_files(source)
    with reading(source if source.is_dir() else source.parent):
        read = [read_file(path) for path in files]
    records = RecordSet(notes=[note for lines in read for note in lines.notes])
    for lines in read:
        for record in lines.records:
            records.add(record)
    return records


def shipped_records() -> RecordSet:
    """The records that come with this package; `shipped/README.md` says where they were made."""
    return read_records(SHIPPED)


def load_records(source: Path | None) -> RecordSet:
    """The user's records, if any, together with the shipped ones; of equals the user's win."""
    records = read_records(source) if source else RecordSet()
    shipped = shipped_records()
    records.notes.extend(shipped.notes)
    for record in shipped:
        records.add(record, shipped=True)
    return records


def record_files(source: Path) -> list[Path]:
    """The record files of a folder, sorted; or the one file that is named.

    Raises
    ------
    UserInputError
        There is nothing of this name.
    """
    if source.is_dir():
        # Regular files only: to open a pipe would wait for ever.
        return sorted(path for path in source.glob(f"*{SUFFIX}") if path.is_file())
    if source.is_file():
        return [source]
    raise UserInputError("there is no such record folder or file", where=str(source), hint=_HINT)


def read_file(path: Path) -> Lines:
    """Read one file; `UserInputError` where it cannot be read."""
    try:
        return parse_lines(path.read_bytes(), str(path))
    except OSError as error:
        raise cannot_read(path, error) from error


def cannot_read(path: Path, error: OSError) -> UserInputError:
    """Say why a record file cannot be read."""
    return UserInputError(
        f"cannot read the records: {error.strerror}",
        where=str(path),
        hint="see that you may read the file, or move it out of the folder",
    )
