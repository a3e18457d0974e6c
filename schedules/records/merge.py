"""Merge records of several folders and files into one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.schedules.records.evidence import key_of
from autoglm_tvm.schedules.records.read import read_records
from autoglm_tvm.schedules.records.record import Record
from autoglm_tvm.schedules.records.record_set import RecordSet
from autoglm_tvm.schedules.records.store import RecordStore
from autoglm_tvm.targets.errors import UserInputError


@dataclass(frozen=True)
class MergedSource:
    """What one source gave.

    Attributes
    ----------
    path
        The folder or file.
    records
        It holds.
    added
        New to the folder: nothing was known of this configuration on this device.
    improved
        Known to the folder with less evidence, such as unchecked or with fewer samples.
    known
        Known to the folder with the same or better evidence.
    notes
        Lines that were left out.
    """

    path: str
    records: int
    added: int
    improved: int
    known: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MergeResult:
    """What became of a folder by a merge; `total` is what it holds now."""

    folder: str
    total: int
    sources: tuple[MergedSource, ...]

    @property
    def added(self) -> int:
        """Records new to the folder."""
        return sum(source.added for source in self.sources)

    @property
    def improved(self) -> int:
        """Records that replaced one with less evidence."""
        return sum(source.improved for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"added": self.added, "improved": self.improved}


def merge_records(sources: Sequence[Path], into: Path) -> MergeResult:
    """Add what the sources know to the folder `into`, which is made where it is absent.

    Of two records of one configuration on one device the one with the better evidence counts
    (`evidence.evidence`), so that neither order nor repetition changes the result.

    Raises
    ------
    UserInputError
        A source does not exist, cannot be read, or holds not one record; nothing was written then.
    RecordFolderError
        `into` cannot be written.
    """
    read = [(path, read_records(path)) for path in sources]
    for path, records in read:
        if not len(records):
            more = f"; {records.notes[0]}" if records.notes else ""
            raise UserInputError(
                f"it holds no records{more}", where=str(path), hint="see which files it has"
            )
    store = RecordStore(into)
    merged = tuple(_merge_one(path, records, store) for path, records in read)
    return MergeResult(str(into), len(store), merged)


def _merge_one(path: Path, records: RecordSet, store: RecordStore) -> MergedSource:
    known = {key_of(record) for record in store}
    new: list[Record] = [record for record in records if store.would_learn(record)]
    if new:
        store.append(new)
    added = sum(key_of(record) not in known for record in new)
    return MergedSource(
        path=str(path),
        records=len(records),
        added=added,
        improved=len(new) - added,
        known=len(records) - len(new),
        notes=tuple(map(str, records.notes)),
    )
