"""Merging records of several places."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import (
    Record,
    RecordFolderError,
    RecordStore,
    Timing,
    merge_records,
    read_records,
)
from autoglm_tvm.targets.errors import UserInputError
from tests.schedules.records.samples import DENSE, PC, configs, failed, trial, write_lines

MORE_SAMPLES = trial(1, 0.9, timing=Timing(1e-3, 0.01, 99))
# Three places that know something of their own, something in common, and contradict each other.
PLACES = {
    "a": [trial(1), trial(2), failed(3), trial(7, 0.7)],
    "b": [MORE_SAMPLES, trial(3), trial(4, target=PC), failed(7, "wrong_result")],
    "c": [
        trial(1),
        trial(5, workload=DENSE),
        trial(6, tvm="0.26.0"),
        trial(2, created="2027-01-01"),
    ],
}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    for name, records in PLACES.items():
        RecordStore(tmp_path / name).append(records)
    return {name: tmp_path / name for name in PLACES}


def _known(folder: Path) -> set[bytes]:
    return {record.line for record in read_records(folder)}


def test_what_was_added_is_told(places: dict[str, Path], tmp_path: Path) -> None:
    result = merge_records([places["b"], places["c"]], into=places["a"])
    first, second = result.sources
    assert (first.records, first.added, first.improved, first.known) == (4, 1, 3, 0)
    assert (second.records, second.added, second.improved, second.known) == (4, 2, 1, 1)
    assert (result.added, result.improved, result.total) == (3, 4, 7)
    assert result.to_json()["added"] == 3
    assert configs(read_records(places["a"])) == [1, 2, 3, 4, 5, 6, 7]
    best = {record.config["tile"]: record for record in read_records(places["a"])}
    assert best[1] == MORE_SAMPLES
    assert best[3] == trial(3)
    assert best[7].failure is not None


def test_the_order_does_not_matter_nor_does_repetition(
    places: dict[str, Path], tmp_path: Path
) -> None:
    results = []
    for index, order in enumerate(itertools.permutations(places.values())):
        into = tmp_path / f"into{index}"
        for source in order:
            merge_records([source], into)
        results.append(_known(into))
        files = {path: path.read_bytes() for path in into.iterdir()}
        again = merge_records([*order, into], into)
        assert (again.added, again.improved) == (0, 0)
        assert {path: path.read_bytes() for path in into.iterdir()} == files
    assert all(result == results[0] for result in results)
    assert len(results[0]) == 7


def test_a_file_is_a_source_too(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "x.jsonl", trial(1), trial(1), trial(2))
    result = merge_records([file], tmp_path / "into")
    assert (result.sources[0].records, result.added) == (2, 2)
    assert configs(read_records(tmp_path / "into")) == [1, 2]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "x.jsonl", trial(1))
    with file.open("ab") as opened:
        opened.write(b"broken\n")
    result = merge_records([file], tmp_path / "into")
    assert result.sources[0].notes == (f"{file}:2: left out: it is no whole line of JSON",)
    assert configs(read_records(tmp_path / "into")) == [1]


@pytest.mark.parametrize("kind", ["absent", "empty folder", "no records", "another format"])
def test_a_source_without_records_is_refused_before_anything_is_written(
    kind: str, tmp_path: Path
) -> None:
    good = write_lines(tmp_path / "x.jsonl", trial(1))
    bad = tmp_path / "bad"
    says = "it holds no records"
    if kind == "absent":
        says = "no such record folder"
    elif kind == "empty folder":
        bad.mkdir()
    else:
        bad = tmp_path / "bad.jsonl"
        bad.write_text('{"format": 2}\n' if kind == "another format" else "hello\n")
        says = "format 2" if kind == "another format" else r"bad\.jsonl:1: left out"
    with pytest.raises(UserInputError, match=says) as caught:
        merge_records([good, bad], tmp_path / "into")
    assert caught.value.where == str(bad)
    assert caught.value.hint
    assert not (tmp_path / "into").exists()


def test_a_goal_that_cannot_be_written(tmp_path: Path) -> None:
    good = write_lines(tmp_path / "x.jsonl", trial(1))
    with pytest.raises(UserInputError, match="is a file"):
        merge_records([good], good)
    with pytest.raises(RecordFolderError):
        merge_records([good], Path("/proc/1"))
    assert configs(read_records(good)) == [1]


def test_nothing_is_lost_where_records_agree(tmp_path: Path) -> None:
    same: list[Record] = [trial(1), trial(1, device="Kirin 980"), trial(1, target=PC)]
    a, b = (write_lines(tmp_path / name, *same) for name in ("a.jsonl", "b.jsonl"))
    assert merge_records([a, b], tmp_path / "into").total == 3
