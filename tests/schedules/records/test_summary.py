"""What a record folder holds, in rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import Record, Timing, summarise_records, workload_hash
from tests.schedules.records.samples import (
    CONV,
    DENSE,
    PC,
    PHONE,
    failed,
    trial,
    write_lines,
)


def test_a_row_says_what_tuning_gained(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "x.jsonl",
        trial(1, 0.5, timing=Timing(4e-4, 0.1, 9), default_seconds=8e-4, created="2026-11-19"),
        trial(2, 0.9, created="2026-11-20"),
        trial(3, None),
        failed(4),
        failed(5),
        failed(6, "time_out"),
    )
    (row,) = summarise_records(tmp_path).rows
    assert (row.workload, row.workload_hash) == (CONV, workload_hash(CONV))
    assert row.target == PHONE.text
    assert (row.default_seconds, row.best_seconds, row.ratio) == (8e-4, 4e-4, 0.5)
    assert row.checked
    assert row.trials == 6
    assert row.failures == {"crash": 2, "time_out": 1}
    assert (row.device, row.created) == ("Snapdragon 855", "2026-11-19")
    assert row.config == {"tile": 1}


@pytest.mark.parametrize(
    ("records", "best", "checked"),
    [
        ([trial(1, None, timing=Timing(2e-3, 0, 1)), trial(2, None)], {"tile": 2}, False),
        ([trial(1, 0.2, checked=False), trial(2, 0.9)], {"tile": 2}, True),
        ([trial(1, 1.5)], {"tile": 1}, True),
        ([failed(1), failed(2)], None, False),
    ],
)
def test_the_best_is_what_was_proven(
    records: list[Record], best: dict[str, int] | None, checked: bool, tmp_path: Path
) -> None:
    write_lines(tmp_path / "x.jsonl", *records)
    (row,) = summarise_records(tmp_path).rows
    assert (row.config, row.checked) == (best, checked)
    if best is None:
        assert (row.best_seconds, row.ratio) == (None, None)
        assert row.device == "Snapdragon 855"


def test_rows_are_chosen(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "x.jsonl",
        trial(1),
        trial(2, target=PC),
        trial(3, workload=DENSE),
        trial(4, tvm="0.26.0"),
        trial(5, space=0),
    )

    def found(*chosen: str | None, every: bool = False) -> list[tuple[str, str, str, int]]:
        rows = summarise_records(tmp_path, *chosen, every=every).rows
        return [(row.workload, row.target, row.tvm, row.space) for row in rows]

    this = ("0.27.0.post1", 1)
    phone = [(CONV, PHONE.text, *this), (DENSE, PHONE.text, *this)]
    assert found() == [*phone, (CONV, PC.text, *this)]
    assert found(None, "cortex") == phone
    assert found("conv2d*64x3x3") == [phone[0], (CONV, PC.text, *this)]
    assert found(workload_hash(DENSE)) == [phone[1]]
    assert found("softmax") == []
    assert len(found(every=True)) == 5
    assert summarise_records(tmp_path).hidden == 2
    assert summarise_records(tmp_path, every=True).hidden == 0
    assert summarise_records(tmp_path, DENSE).hidden == 0
    assert json.loads(json.dumps(summarise_records(tmp_path).to_json()))["hidden"] == 2
