"""A record folder on a disk that is full or read-only, for real."""

from __future__ import annotations

from pathlib import Path

from tests.small_disk import run_on_disk

_HELPERS = """
import json, os
from pathlib import Path
from autoglm_tvm.schedules.records import RecordStore, prune_records, read_records
from autoglm_tvm.schedules.records import RecordFolderError
from autoglm_tvm.targets.errors import UserInputError
from tests.schedules.records.samples import configs, failed, trial

disk = Path(folder)
goal = disk / "records"

def leave(pages):
    (disk / "filler").write_bytes(b"")
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, free.f_bavail - pages) * free.f_bsize))

def attempt(work):
    try:
        work()
        return None
    except UserInputError as error:
        return [type(error).__name__, error.what, error.where, error.hint]
"""

_APPEND = """
def batch(first):
    return [trial({"tile": number, "pad": "x" * 900}) for number in range(first, first + 12)]

store = RecordStore(goal)
results = []
number = 0
for pages in range(0, 6):
    (disk / "filler").unlink(missing_ok=True)
    store.append([trial(number)])
    safe = len(store)
    leave(pages)
    error = attempt(lambda: store.append(batch(number + 1)))
    content = (goal / trial(0).target.file_name).read_bytes()
    state = [len(store) == safe, configs(store) == configs(read_records(goal)),
             content.endswith(b"\\n"), store.notes]
    results.append([pages, error, *state])
    number += 1000
(disk / "filler").unlink()
store.append([trial(number)])
print(json.dumps([results, configs(RecordStore(goal))]))
"""


def test_a_full_disk_while_records_are_written(tmp_path: Path) -> None:
    """The batch is gone whole, what was there before is intact, and the store can be used on."""
    results, left = run_on_disk(tmp_path, "size=96k", _HELPERS + _APPEND)
    failures = [result for result in results if result[1]]
    assert len(failures) >= 3
    for _, error, *state in failures:
        kind, what, where, hint = error
        assert kind == "RecordFolderError"
        assert what.startswith("the disk is full")
        assert "those written before are intact" in what
        assert where == str(tmp_path / "records")
        assert "free some space" in hint
        assert "--resume" in hint
        assert state == [True, True, True, []]
    for _, error, *state in results:
        if not error:
            assert state == [False, True, True, []]
    # One record of every round, those of the whole batches, and the last one.
    assert [number for number in left if number % 1000 == 0] == [*range(0, 6001, 1000)]
    assert len(left) == 7 + 12 * (len(results) - len(failures))


_NEW = """
leave(0)
first = attempt(lambda: RecordStore(goal).append([trial(1)]))
(disk / "filler").unlink()
RecordStore(goal).append([trial(2)])
print(json.dumps([first, configs(read_records(goal))]))
"""


def test_a_full_disk_from_the_start(tmp_path: Path) -> None:
    error, left = run_on_disk(tmp_path, "size=64k", _HELPERS + _NEW)
    assert error[0] == "RecordFolderError"
    assert error[1].startswith("the disk is full")
    assert left == [2]


_PRUNE = """
store = RecordStore(goal)
store.append([trial({"tile": number, "pad": "x" * 900}) for number in range(20)])
store.append([failed(number) for number in range(20, 30)])
before = (goal / trial(0).target.file_name).read_bytes()
results = []
for pages in range(0, 4):
    leave(pages)
    error = attempt(lambda: prune_records(goal, keep=20))
    same = (goal / trial(0).target.file_name).read_bytes() == before
    results.append([error, same, sorted(path.name for path in goal.iterdir())])
(disk / "filler").unlink()
prune_records(goal, keep=20)
print(json.dumps([results, configs(RecordStore(goal))]))
"""


def test_a_full_disk_during_a_prune(tmp_path: Path) -> None:
    results, left = run_on_disk(tmp_path, "size=96k", _HELPERS + _PRUNE)
    for error, same, names in results:
        assert error[0] == "RecordFolderError"
        assert "no record was lost" in error[1]
        assert same
        assert len(names) == 2
    assert left == [*range(20)]


_READ_ONLY = """
RecordStore(goal).append([trial(1)])
store = RecordStore(goal)
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
errors = [attempt(work) for work in (
    lambda: store.append([trial(2)]), lambda: RecordStore(goal), lambda: prune_records(goal),
    lambda: RecordStore(disk / "new"))]
print(json.dumps([errors, configs(store), configs(read_records(goal))]))
"""


def test_a_read_only_disk(tmp_path: Path) -> None:
    errors, kept, read = run_on_disk(tmp_path, "size=64k", _HELPERS + _READ_ONLY)
    for error in errors:
        assert error[0] == "RecordFolderError"
        assert error[1] == "cannot write records there: Read-only file system"
        assert error[2].startswith(str(tmp_path))
        assert "folder that you may write to" in error[3]
    assert kept == read == [1]
