"""A record folder under kill -9, and with several processes at once."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

from autoglm_tvm.schedules.records import RecordSet, RecordStore, read_records
from tests.schedules.records.samples import PHONE, trial
from tests.schedules.records.writer_process import go, said_to_be_safe, writer

KILLS = 8


def _parts(records: RecordSet) -> Counter[int]:
    """How many of the three records of each batch are there."""
    return Counter(record.config["tile"] for record in records)


def test_killed_at_any_moment_no_record_that_was_said_to_be_safe_is_lost(tmp_path: Path) -> None:
    moments = random.Random(0)
    safe: set[int] = set()
    for kill in range(KILLS):
        with writer(tmp_path, 1000 * kill, 1000) as process:
            go(process)
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
            safe |= said_to_be_safe(process)
        found = read_records(tmp_path)
        assert len(found.notes) <= 1
        assert all(_parts(found)[number] == 3 for number in safe)
    assert len(safe) > KILLS


def test_killed_in_the_middle_of_a_line_the_lines_before_it_stay(tmp_path: Path) -> None:
    """A batch takes about twenty pieces, so that the first, second or third one is torn."""
    safe: set[int] = set()
    torn = 0
    for limit in range(1, 60, 9):
        with writer(tmp_path, 1000 * limit, 1000, limit) as process:
            go(process)
            assert process.wait(60) == -signal.SIGKILL
            safe |= said_to_be_safe(process)
        found = read_records(tmp_path)
        assert all(_parts(found)[number] == 3 for number in safe)
        if not (tmp_path / PHONE.file_name).read_bytes().endswith(b"\n"):
            torn += 1
            assert [note.what for note in found.notes] == [
                "left out: its writer died in the middle; the next write removes it"
            ]
    assert torn > 5
    assert len(safe) > 5
    store = RecordStore(tmp_path)
    store.append([trial({"tile": 0, "part": 0})])
    assert store.notes == []
    assert set(_parts(store)) >= safe | {0}


def test_two_tunings_share_one_folder(tmp_path: Path) -> None:
    own = RecordStore(tmp_path)
    mine = 0
    with writer(tmp_path, 0, 60) as first, writer(tmp_path, 60, 60) as second:
        go(first)
        go(second)
        while first.poll() is None or second.poll() is None:
            mine += 1
            own.append([trial({"tile": 1000 + mine, "part": 0})])
        assert (first.wait(60), second.wait(60)) == (0, 0)
    own.refresh()
    expected = {**dict.fromkeys(range(120), 3), **dict.fromkeys(range(1001, 1001 + mine), 1)}
    for records in (own, read_records(tmp_path)):
        # None lost, none glued to another one.
        assert records.notes == []
        assert _parts(records) == expected


def test_tunings_see_each_others_trials(tmp_path: Path) -> None:
    own = RecordStore(tmp_path)
    with writer(tmp_path, 0, 5) as other:
        go(other)
        assert other.wait(60) == 0
    assert len(own) == 0
    own.refresh()
    assert len(own) == 15
