"""A record folder: appending, reading on, torn lines, and what is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import (
    RecordStore,
    files,
    folder_lock,
    load_records,
    prune_records,
    read_records,
    shipped_records,
    workload_hash,
)
from autoglm_tvm.targets.locked_file import write_atomically
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

FILE = PHONE.file_name


def _texts(notes: object) -> list[str]:
    assert isinstance(notes, list)
    return [str(note) for note in notes]


def test_what_was_appended_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    store = RecordStore(folder)
    store.append([trial(1), failed(2)])
    store.append([trial(3, target=PC, workload=DENSE)])
    assert configs(store) == [1, 2, 3]
    assert store.best(workload_hash(CONV), PHONE) == trial(1)
    again = RecordStore(folder)
    assert sorted(again, key=str) == sorted(
        [trial(1), failed(2), trial(3, target=PC, workload=DENSE)], key=str
    )
    assert again.notes == []
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lock", FILE, PC.file_name])
    assert (folder / FILE).read_bytes() == trial(1).line + failed(2).line


def test_nothing_to_append_is_nothing(tmp_path: Path) -> None:
    RecordStore(tmp_path).append([])
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_one_write_and_then_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order, or a power loss costs records that were said to be safe."""
    steps: list[str] = []

    def note_write(file: int, content: bytes) -> int:
        steps.append("write")
        return write(file, content)

    def note_fsync(file: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{file}').readlink().name}")
        fsync(file)

    write, fsync = os.write, os.fsync
    monkeypatch.setattr(files.os, "write", note_write)
    monkeypatch.setattr(files.os, "fsync", note_fsync)
    store = RecordStore(tmp_path / "new")
    assert steps == [f"fsync {tmp_path.name}"]
    store.append([trial(index) for index in range(100)])
    store.append([trial(100)])
    assert steps[1:] == ["write", f"fsync {FILE}", "fsync new", "write", f"fsync {FILE}"]


def test_a_line_torn_at_any_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _file: None)
    first, torn, later = trial(1).line, trial(2).line, trial(3).line
    path = tmp_path / FILE
    for cut in range(len(torn) + 1):
        path.write_bytes(first + torn[:cut])
        whole = cut >= len(torn) - 1
        store = RecordStore(tmp_path)
        assert configs(store) == ([1, 2] if whole else [1])
        assert len(store.notes) == (0 < cut < len(torn) - 1)
        if store.notes:
            assert str(store.notes[0]).startswith(f"{path}:2: left out: its writer died")
        store.append([trial(3)])
        assert configs(store) == configs(RecordStore(tmp_path)) == ([1, 2, 3] if whole else [1, 3])
        assert store.notes == []
        assert path.read_bytes() == first + (torn if whole else b"") + later


def test_a_long_torn_line_and_one_of_zeros(tmp_path: Path) -> None:
    """A trace can be longer than what is read at once; a power loss can leave zeros."""
    long = trial({"trace": ["x" * 1000] * 1000})
    path = tmp_path / FILE
    for torn in (long.line[:-2], long.line[: len(long.line) // 2], b"\0" * 5000):
        path.write_bytes(trial(1).line + torn)
        store = RecordStore(tmp_path)
        store.append([trial(2)])
        assert configs(store) == [1, 2]
        assert path.read_bytes() == trial(1).line + trial(2).line
    path.write_bytes(long.line[:-1])
    RecordStore(tmp_path).append([trial(2)])
    assert path.read_bytes() == long.line + trial(2).line


def test_broken_lines_are_told_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / FILE
    broken = b"\xff\n" + b"\n" + trial(1).line + trial(2).line.replace(b"Snap", b"snap")
    path.write_bytes(broken + b'{"format":2}\n' + trial(3).line)
    for records in (RecordStore(tmp_path), read_records(tmp_path), read_records(path)):
        assert configs(records) == [1, 3]
        assert _texts(records.notes) == [
            f"{path}:1: left out: it is no whole line of JSON",
            f"{path}:4: left out: its checksum is wrong: it was changed after it was written",
            f"{path}:5: left out: it has format 2, this program reads 1",
        ]


def test_refresh_reads_what_others_wrote(tmp_path: Path) -> None:
    first, second = RecordStore(tmp_path), RecordStore(tmp_path)
    first.append([trial(1)])
    assert configs(second) == []
    second.append([trial(2)])
    assert configs(second) == [1, 2]
    first.append([trial(3, target=PC)])
    first.refresh()
    second.refresh()
    assert configs(first) == configs(second) == [1, 2, 3]


def test_notes_count_lines_on(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.append([trial(1)])
    path = tmp_path / FILE
    with path.open("ab") as file:
        file.write(b"broken\n" + trial(2).line + b"torn")
    for _ in range(2):
        store.refresh()
        assert _texts(store.notes) == [
            f"{path}:2: left out: it is no whole line of JSON",
            f"{path}:4: left out: its writer died in the middle; the next write removes it",
        ]
    store.append([trial(3)])
    assert [note.line for note in store.notes] == [2]
    assert configs(store) == [1, 2, 3]


def test_a_pruned_file_is_read_anew(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.append([failed(1), failed(2), trial(3)])
    prune_records(tmp_path)
    store.refresh()
    assert configs(store) == [3]
    store.append([trial(4)])
    assert configs(store) == configs(RecordStore(tmp_path)) == [3, 4]


def test_a_removed_file_is_forgotten(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.append([trial(1), trial(2, target=PC)])
    (tmp_path / FILE).unlink()
    store.refresh()
    assert configs(store) == [2]


def test_a_file_that_was_cut_and_grew_again_is_read_anew(tmp_path: Path) -> None:
    """Same inode, same size: as after a restored backup."""
    store = RecordStore(tmp_path)
    store.append([trial(1), trial(2)])
    (tmp_path / FILE).write_bytes(trial(3).line + trial(4).line)
    store.refresh()
    assert configs(store) == [3, 4]


def test_a_file_of_the_same_length_is_told_from_the_one_it_replaced(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.append([trial(1), trial(9)])
    write_atomically(tmp_path / FILE, trial(2).line + trial(9).line)
    store.refresh()
    assert configs(store) == [2, 9]


def test_a_process_forked_meanwhile_does_not_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has every open file of its parent, and so the lock, until it ends."""
    kept: list[int] = []

    def open_twice(path: Path, flags: int, mode: int = 0o777) -> int:
        file = real(path, flags, mode)
        kept.append(os.dup(file))
        return file

    real = os.open
    monkeypatch.setattr(folder_lock, "WAIT_SECONDS", 0.02)
    monkeypatch.setattr(folder_lock.os, "open", open_twice)
    RecordStore(tmp_path).append([trial(1)])
    assert configs(read_records(tmp_path)) == [1]
    assert len(kept) > 2
    for file in kept:
        os.close(file)


def test_threads_append_at_once(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    threads = [
        threading.Thread(
            target=lambda start=start: [store.append([trial(start + i)]) for i in range(10)]
        )
        for start in range(0, 80, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert configs(store) == configs(RecordStore(tmp_path)) == list(range(80))


def test_shipped_records_are_whole_and_can_be_applied() -> None:
    records = shipped_records()
    assert records.notes == []
    assert all(record.is_applicable for record in records)


def test_the_users_records_come_with_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoglm_tvm.schedules.records import read

    write_lines(tmp_path / "shipped/a.jsonl", trial(1, 0.5, device="lab"), trial(3, 0.9, target=PC))
    monkeypatch.setattr(read, "SHIPPED", tmp_path / "shipped")
    own = write_lines(tmp_path / "own/b.jsonl", trial(2, 0.5))
    name = workload_hash(CONV)
    assert load_records(None).best(name, PHONE) == trial(1, 0.5, device="lab")
    for source in (own, own.parent):
        records = load_records(source)
        assert records.best(name, PHONE) == trial(2, 0.5)
        assert records.best(name, PC) == trial(3, 0.9, target=PC)
