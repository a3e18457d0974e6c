"""Exporting the records worth applying."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import (
    RecordStore,
    export_records,
    load_records,
    read_records,
    workload_hash,
)
from autoglm_tvm.targets.errors import UserInputError
from tests.schedules.records.samples import (
    CONV,
    DENSE,
    PC,
    PHONE,
    configs,
    failed,
    trial,
    write_lines,
)

RECORDS = [
    trial(1, 0.5),
    trial(2, 0.6),
    trial(3, 0.7, workload=DENSE),
    trial(4, 0.8, target=PC),
    trial(5, 0.1, checked=False),
    trial(6, 0.1, tvm="0.26.0"),
    trial(7, 1.1, workload="softmax"),
    failed(8),
]


def test_the_best_of_each_workload_and_target(tmp_path: Path) -> None:
    RecordStore(tmp_path / "records").append(RECORDS)
    result = export_records(tmp_path / "records", tmp_path / "best.jsonl")
    assert result.records == 3
    assert result.bytes == (tmp_path / "best.jsonl").stat().st_size
    assert result.targets == (PHONE.text, PC.text)
    assert "1 records of TVM 0.26.0" in result.notes[0]
    assert configs(read_records(tmp_path / "best.jsonl")) == [1, 3, 4]
    loaded = load_records(tmp_path / "best.jsonl")
    assert loaded.best(workload_hash(CONV), PHONE) == trial(1, 0.5)


@pytest.mark.parametrize(("target", "found"), [("cortex", [1, 3]), ("android-arm64-v8.2", [1, 3])])
def test_of_one_target(target: str, found: list[int], tmp_path: Path) -> None:
    write_lines(tmp_path / "records/x.jsonl", *RECORDS)
    export_records(tmp_path / "records", tmp_path / "best.jsonl", target)
    assert configs(read_records(tmp_path / "best.jsonl")) == found


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    contents = set()
    for seed in range(5):
        records = random.Random(seed).sample(RECORDS, len(RECORDS))
        source = write_lines(tmp_path / f"{seed}/x.jsonl", *records)
        output = tmp_path / f"best{seed}.jsonl"
        export_records(source, output)
        contents.add(output.read_bytes())
        export_records(output, output)
        contents.add(output.read_bytes())
    assert len(contents) == 1


def test_nothing_to_export(tmp_path: Path) -> None:
    write_lines(tmp_path / "records/x.jsonl", *RECORDS)
    output = write_lines(tmp_path / "best.jsonl", trial(9))
    with pytest.raises(UserInputError, match="none of its 8 records is checked") as caught:
        export_records(tmp_path / "records", output, "android-arm64")
    assert "and for android-arm64" in caught.value.what
    assert "records show" in caught.value.hint
    assert configs(read_records(output)) == [9]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("best.json", r"record files end in \.jsonl"),
        ("data.jsonl", "holds no records"),
        ("folder.jsonl", "cannot write the records: Is a directory"),
        ("none/best.jsonl", "cannot write the records: No such file"),
    ],
)
def test_an_output_that_is_something_else_is_left_alone(
    name: str, says: str, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "records/x.jsonl", *RECORDS)
    (tmp_path / "data.jsonl").write_text('{"my": "data"}\n')
    (tmp_path / "folder.jsonl").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserInputError, match=says) as caught:
        export_records(source, tmp_path / name)
    assert caught.value.where == str(tmp_path / name)
    assert "--output" in caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "data.jsonl").read_text() == '{"my": "data"}\n'
