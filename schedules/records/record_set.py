"""Records in memory: what is known of each kernel on each target, and the questions to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.schedules.records.evidence import (
    Key,
    evidence,
    key_of,
    proven_configs,
    ratio_of,
    speed,
)
from autoglm_tvm.schedules.records.files import Note
from autoglm_tvm.schedules.records.record import (
    SPACE_VERSION,
    TVM_VERSION,
    Record,
)
from autoglm_tvm.schedules.records.target_identity import TargetIdentity


@dataclass(frozen=True)
class Coverage:
    """Which of some kernels have records for a target.

    Attributes
    ----------
    best
        By workload hash, the records to apply: each faster than the default schedule, and right.
    default_is_best
        Hashes of workloads that were tuned, and nothing faster than the default was found.
    missing
        Hashes of workloads without records for this target and version.
    notes
        What was left out and why.
    """

    best: dict[str, Record]
    default_is_best: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def covered(self) -> int:
        """Number of workloads with records."""
        return len(self.best) + len(self.default_is_best)

    def summary(self) -> str:
        """One line for people."""
        total = self.covered + len(self.missing)
        kept = f"; for {len(self.default_is_best)} of them the default schedule is the fastest"
        return (
            f"{self.covered} of {total} kernels have records{kept if self.default_is_best else ''}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "best": {name: record.to_json() for name, record in self.best.items()},
            "default_is_best": list(self.default_is_best),
            "missing": list(self.missing),
            "notes": list(self.notes),
        }


class RecordSet:
    """Records of any workloads, targets and versions.

    Of several records of one configuration on one device the one with the better evidence is kept
    (`evidence`), so that the order in which they came does not matter.

    Attributes
    ----------
    notes
        Lines that were left out when the records were read.
    """

    def __init__(self, records: Iterable[Record] = (), notes: Iterable[Note] = ()) -> None:
        self.notes: list[Note] = list(notes)
        self._by_workload: dict[str, dict[Key, Record]] = {}
        self._shipped: set[Key] = set()
        for record in records:
            self.add(record)

    def would_learn(self, record: Record) -> bool:
        """Whether nothing is known of its configuration on its device, or with less evidence."""
        known = self._by_workload.get(record.workload_hash, {}).get(key_of(record))
        return known is None or evidence(record) > evidence(known)

    def add(self, record: Record, *, shipped: bool = False) -> None:
        """Take a record in, unless there is one with the same or better evidence."""
        if self.would_learn(record):
            key = key_of(record)
            self._by_workload.setdefault(record.workload_hash, {})[key] = record
            (self._shipped.add if shipped else self._shipped.discard)(key)

    def clear(self) -> None:
        """Forget all records."""
        self._by_workload.clear()
        self._shipped.clear()

    def __iter__(self) -> Iterator[Record]:
        for name in list(self._by_workload):
            yield from self.of_workload(name)

    def __len__(self) -> int:
        return sum(len(known) for known in self._by_workload.values())

    def of_workload(self, workload_hash: str) -> list[Record]:
        """Every record of a workload, of any target and version."""
        return list(self._by_workload.get(workload_hash, {}).values())

    def best(self, workload_hash: str, target: TargetIdentity) -> Record | None:
        """The record to apply: the fastest that is checked, of this target and version.

        `None` where nothing is faster than the untuned kernel. A configuration that was measured on
        several devices counts with its worst ratio, and one that was ever wrong does not count. Of
        equals the user's own wins over a shipped one.
        """
        proven = proven_configs(self._usable(workload_hash, target))
        faster = [record for record in proven.values() if ratio_of(record) < 1]
        return min(faster, key=self._preference, default=None)

    def tried(
        self, workload_hash: str, target: TargetIdentity, device: str | None = None
    ) -> dict[str, Record]:
        """What a resumed tuning need not try again, by `config_text`; of one device, or of any.

        Failures that say nothing about the configuration (`TRANSIENT_FAILURES`) are not among it.
        """
        found: dict[str, Record] = {}
        for record in self._usable(workload_hash, target):
            if record.is_conclusive and device in (None, record.device):
                known = found.get(record.config_text)
                if known is None or evidence(record) > evidence(known):
                    found[record.config_text] = record
        return found

    def seeds(self, workload_hash: str, target: TargetIdentity, limit: int = 8) -> list[Record]:
        """Configurations worth trying first, best first: of near targets and other TVM versions.

        Nothing of them is proven for this target: measure and check them before they are used.
        """
        known = self.tried(workload_hash, target)
        near = [
            record
            for record in self.of_workload(workload_hash)
            if record.space == SPACE_VERSION
            and record.failure is None
            and target.is_near(record.target)
            and record.config_text not in known
        ]
        near.sort(key=lambda record: (record.target != target, *speed(record)))
        first: dict[str, Record] = {}
        for record in near:
            first.setdefault(record.config_text, record)
        return list(first.values())[:limit]

    def coverage(self, workload_hashes: Iterable[str], target: TargetIdentity) -> Coverage:
        """What `best` says of each of a network's workloads."""
        best: dict[str, Record] = {}
        default_is_best, missing = [], []
        for name in dict.fromkeys(workload_hashes):
            record = self.best(name, target)
            if record:
                best[name] = record
            elif self.tried(name, target):
                default_is_best.append(name)
            else:
                missing.append(name)
        notes = (*map(str, self.notes), *self.version_notes())
        return Coverage(best, tuple(default_is_best), tuple(missing), notes)

    def version_notes(self) -> list[str]:
        """One line for each other version whose records are here and are not applied."""
        others = Counter((item.tvm, item.space) for item in self if not item.is_of_this_version)
        return [
            f"{count} records of TVM {tvm}, schedule space {space}, are not applied; this is "
            f"TVM {TVM_VERSION}, schedule space {SPACE_VERSION}"
            for (tvm, space), count in sorted(others.items())
        ]

    def _usable(self, workload_hash: str, target: TargetIdentity) -> list[Record]:
        return [
            record
            for record in self.of_workload(workload_hash)
            if record.is_of_this_version and record.target == target
        ]

    def _preference(self, record: Record) -> tuple[float, bool, str]:
        return ratio_of(record), key_of(record) in self._shipped, record.config_text
