"""What a record folder holds, a row for each workload on each target."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.schedules.records.evidence import best_configs, proven_configs
from autoglm_tvm.schedules.records.read import read_records
from autoglm_tvm.schedules.records.record import Record
from autoglm_tvm.schedules.records.selection import fits, target_filter


@dataclass(frozen=True)
class SummaryRow:
    """One workload on one target.

    Attributes
    ----------
    workload, workload_hash
        What is computed.
    target
        Text of the target.
    tvm, space
        Version of TVM and of the schedule space.
    default_seconds, best_seconds
        p50 of the untuned kernel and of the best configuration, the two measured interleaved where
        there is a `ratio`; `None` where they were not measured.
    ratio
        Time of the best configuration as a share of the untuned kernel's.
    checked
        Whether the best configuration's results were right.
    trials
        Configurations tried, failed ones included; counted once for each device.
    failures
        How many of them failed, by kind.
    device, created
        Where and when the best configuration was measured, or the last one tried if all failed.
    config
        The best configuration.
    """

    workload: str
    workload_hash: str
    target: str
    tvm: str
    space: int
    default_seconds: float | None
    best_seconds: float | None
    ratio: float | None
    checked: bool
    trials: int
    failures: dict[str, int]
    device: str
    created: str
    config: dict[str, Any] | None


@dataclass(frozen=True)
class RecordsSummary:
    """Rows, the number of rows of other versions that were left out, and notes."""

    source: str
    rows: tuple[SummaryRow, ...]
    hidden: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def summarise_records(
    source: Path, workload: str | None = None, target: str | None = None, *, every: bool = False
) -> RecordsSummary:
    """Say what a record folder or file holds.

    Parameters
    ----------
    source
        The folder or file.
    workload
        Pattern of workloads or their hashes, such as `conv2d*64x3x3`.
    target
        A preset's name or a pattern of targets' texts (`selection.target_filter`).
    every
        Also what was made by other versions of TVM or of the schedule space.

    Raises
    ------
    UserInputError
        There is no such folder or file.
    """
    records = read_records(source)
    wanted = target_filter(target)
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        named = f"{record.workload} {record.workload_hash}"
        if wanted(record.target) and (workload is None or fits(named, workload)):
            groups[record.workload, record.target, record.tvm, record.space].append(record)
    shown = [group for group in groups.values() if every or group[0].is_of_this_version]
    rows = sorted(map(_row, shown), key=lambda row: (row.target, row.workload, row.tvm, row.space))
    notes = tuple(map(str, records.notes))
    return RecordsSummary(str(source), tuple(rows), len(groups) - len(shown), notes)


def _row(group: Sequence[Record]) -> SummaryRow:
    best = _best_of(group)
    shown = best or max(group, key=lambda record: (record.created, record.line))
    return SummaryRow(
        workload=shown.workload,
        workload_hash=shown.workload_hash,
        target=shown.target.text,
        tvm=shown.tvm,
        space=shown.space,
        default_seconds=shown.default_seconds,
        best_seconds=best.seconds if best else None,
        ratio=best.ratio if best else None,
        checked=bool(best and best.checked),
        trials=len(group),
        failures=dict(sorted(Counter(item.failure.kind for item in group if item.failure).items())),
        device=shown.device,
        created=shown.created,
        config=best.config if best else None,
    )


def _best_of(group: Sequence[Record]) -> Record | None:
    """The record that would be applied, or else the fastest that did not fail."""
    texts = best_configs(group)
    if not texts:
        return None
    good = [item for item in group if item.failure is None and item.config_text == texts[0]]
    return proven_configs(group).get(texts[0]) or max(good, key=lambda item: item.seconds or 0.0)
