"""What records prove: which of two to believe, and what they allow to be applied."""

from __future__ import annotations

from collections.abc import Iterable

from autoglm_tvm.schedules.records.record import WRONG_RESULT, Record

Key = tuple[str, str, str, int, str, str]


def key_of(record: Record) -> Key:
    """What one record is about: two of one key contradict or confirm each other."""
    return (
        record.workload_hash,
        record.target.hash,
        record.tvm,
        record.space,
        record.device,
        record.config_text,
    )


def evidence(record: Record) -> tuple[bool, bool, bool, bool, int, str, bytes]:
    """How much a record proves, for comparisons: a total order, so that merging has one result.

    A wrong result proves the most: it must not be forgotten for a run that happened to be right.
    Then what was checked, compared with the untuned kernel, measured more often, measured later.
    """
    return (
        is_wrong(record),
        record.failure is None,
        record.checked,
        record.ratio is not None,
        record.timing.samples if record.timing else 0,
        record.created,
        record.line,
    )


def proven_configs(records: Iterable[Record]) -> dict[str, Record]:
    """By `config_text`, what may be applied of the records of one workload, target and version.

    A configuration that was measured on several devices is there with its worst ratio; one that
    ever gave a wrong result is not.
    """
    records = list(records)
    wrong = {record.config_text for record in records if is_wrong(record)}
    worst: dict[str, Record] = {}
    for record in records:
        text = record.config_text
        if record.is_applicable and text not in wrong:
            worst[text] = max(worst.get(text, record), record, key=ratio_of)
    return worst


def best_configs(records: Iterable[Record]) -> list[str]:
    """Texts of all configurations that did not fail, best first: proven, then measured ones."""
    records = list(records)
    order = sorted(proven_configs(records).items(), key=lambda item: (ratio_of(item[1]), item[0]))
    good = sorted((item for item in records if item.failure is None), key=speed)
    return list(dict.fromkeys([*(text for text, _ in order), *(item.config_text for item in good)]))


def is_wrong(record: Record) -> bool:
    """Whether the kernel computed something else than the untuned one."""
    return record.failure is not None and record.failure.kind == WRONG_RESULT


def ratio_of(record: Record) -> float:
    """Time as a share of the untuned kernel's; infinite where they were not compared."""
    return float("inf") if record.ratio is None else record.ratio


def speed(record: Record) -> tuple[float, float, str]:
    """A key to sort by: compared ones first, the fastest first."""
    return ratio_of(record), record.seconds or float("inf"), record.config_text
