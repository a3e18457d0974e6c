"""Prune a record folder: keep what is worth applying or trying again, drop the rest."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.schedules.records.evidence import best_configs, is_wrong
from autoglm_tvm.schedules.records.folder_lock import RecordFolderError, writing
from autoglm_tvm.schedules.records.read import read_file, record_files
from autoglm_tvm.schedules.records.record import Record
from autoglm_tvm.schedules.records.record_set import RecordSet
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.locked_file import sync_folder, write_atomically


@dataclass(frozen=True)
class PruneResult:
    """What a prune did.

    Attributes
    ----------
    folder
        Its path.
    kept, dropped
        Records. A record that one with better evidence had replaced already counts as dropped.
    unreadable
        Broken lines that were dropped.
    foreign
        Lines of another format, kept as they were.
    bytes_before, bytes_after
        Size of the record files.
    """

    folder: str
    kept: int
    dropped: int
    unreadable: int
    foreign: int
    bytes_before: int
    bytes_after: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def prune_records(folder: Path, keep: int = 3, *, other_versions: bool = True) -> PruneResult:
    """Keep the best configurations of each workload on each target; drop slower ones and failures.

    Wrong results are kept: they guard against a merge that brings the same configuration back.
    Each file is replaced as one step: a kill leaves it as it was, or pruned. A tuning may go on in
    the folder meanwhile, but will try again what it no longer finds.

    Parameters
    ----------
    folder
        A record folder.
    keep
        How many configurations, at least 1; for each version of TVM and of the schedule space.
    other_versions
        Whether to keep records of other versions of TVM or of the schedule space at all.

    Raises
    ------
    UserInputError
        `keep` is less than 1, or `folder` is no folder.
    RecordFolderError
        The folder cannot be written; files that were not yet replaced are as they were.
    """
    if keep < 1:
        raise UserInputError("keep at least 1 record", where="--keep", hint="for example --keep 3")
    if not folder.is_dir():
        raise UserInputError(
            "there is no such record folder", where=str(folder), hint="name a record folder"
        )
    with writing(folder):
        try:
            done = [_prune_file(path, keep, other_versions) for path in record_files(folder)]
        except OSError as error:
            raise _cannot_prune(folder, error) from error
    return PruneResult(
        str(folder), *(sum(numbers) for numbers in zip((0,) * 6, *done, strict=True))
    )


def _prune_file(path: Path, keep: int, other_versions: bool) -> tuple[int, ...]:
    """Rewrite one file; the numbers of `PruneResult`."""
    before = path.stat().st_size
    lines = read_file(path)
    kept = _chosen(RecordSet(lines.records), keep, other_versions)
    content = b"".join([*(record.line for record in kept), *lines.foreign])
    if content:
        write_atomically(path, content)
    else:
        path.unlink()
        sync_folder(path.parent)
    unreadable = len(lines.notes) - len(lines.foreign)
    dropped = len(lines.records) - len(kept)
    return len(kept), dropped, unreadable, len(lines.foreign), before, len(content)


def _chosen(records: RecordSet, keep: int, other_versions: bool) -> list[Record]:
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        if other_versions or record.is_of_this_version:
            groups[record.workload, record.target.hash, record.tvm, record.space].append(record)
    return [record for group in groups.values() for record in _chosen_of_group(group, keep)]


def _chosen_of_group(group: list[Record], keep: int) -> list[Record]:
    """Every device's record of a kept configuration, for the worst of them is what counts."""
    best = set(best_configs(group)[:keep])
    return [
        record
        for record in group
        if is_wrong(record) or (record.failure is None and record.config_text in best)
    ]


def _cannot_prune(folder: Path, error: OSError) -> RecordFolderError:
    return RecordFolderError(
        f"cannot prune: {error.strerror or error}; no record was lost",
        where=str(folder),
        hint="see that you may write there and that the disk has room for one more file",
    )
