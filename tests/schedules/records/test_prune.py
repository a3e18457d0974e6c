"""Pruning a record folder, killed in the middle too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import RecordStore, prune_records, read_records, workload_hash
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
from tests.schedules.records.writer_process import ROOT

KIRIN = "Kirin 980"


def test_the_best_are_kept(tmp_path: Path) -> None:
    RecordStore(tmp_path).append(
        [
            *(trial(number, 1 - number / 100) for number in range(10)),
            *(trial(number, None) for number in range(10, 15)),
            *(failed(number) for number in range(20, 25)),
            failed(30, "wrong_result"),
            trial(40, 0.9, target=PC),
            trial(50, 0.9, workload=DENSE),
            trial(60, 0.9, tvm="0.26.0"),
            trial(70, 0.9, space=0),
        ]
    )
    before = sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
    result = prune_records(tmp_path, keep=2)
    assert configs(read_records(tmp_path)) == [8, 9, 30, 40, 50, 60, 70]
    assert (result.kept, result.dropped, result.unreadable, result.foreign) == (7, 18, 0, 0)
    assert result.bytes_before == before
    assert result.bytes_after == sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
    again = prune_records(tmp_path, keep=2, other_versions=False)
    assert configs(read_records(tmp_path)) == [8, 9, 30, 40, 50]
    assert (again.kept, again.dropped) == (5, 2)
    assert prune_records(tmp_path, keep=2).dropped == 0


def test_what_would_be_applied_stays_the_same(tmp_path: Path) -> None:
    """Every device's record of a kept configuration stays: the worst of them is what counts."""
    records = [
        trial(1, 0.5),
        trial(1, 1.3, device=KIRIN),
        trial(2, 0.8),
        trial(2, 0.9, device=KIRIN),
        trial(3, 0.4),
        failed(3, "wrong_result", device=KIRIN),
        trial(4, 0.1, checked=False),
    ]
    for keep in (1, 2, 3):
        folder = tmp_path / str(keep)
        store = RecordStore(folder)
        store.append(records)
        before = store.best(workload_hash(CONV), PHONE)
        assert before == trial(2, 0.9, device=KIRIN)
        prune_records(folder, keep)
        assert read_records(folder).best(workload_hash(CONV), PHONE) == before
    assert len(read_records(tmp_path / "1")) == 3


def test_broken_lines_go_and_lines_of_other_formats_stay(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", trial(1), trial(1, 0.9), trial(2))
    foreign = b'{"format":2,"of":"the future"}\n'
    with path.open("ab") as file:
        file.write(b"broken\n" + foreign + trial(3).line[:-5])
    result = prune_records(tmp_path)
    assert (result.kept, result.dropped, result.unreadable, result.foreign) == (2, 1, 2, 1)
    assert foreign in path.read_bytes()
    assert configs(read_records(tmp_path)) == [1, 2]
    assert prune_records(tmp_path).foreign == 1


def test_a_file_without_records_is_removed(tmp_path: Path) -> None:
    write_lines(tmp_path / "x.jsonl", failed(1))
    write_lines(tmp_path / "y.jsonl", trial(1))
    prune_records(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "y.jsonl"]


def test_an_empty_folder(tmp_path: Path) -> None:
    assert prune_records(tmp_path).kept == 0


@pytest.mark.parametrize(("keep", "name", "says"), [(0, ".", "at least 1"), (3, "none", "no such")])
def test_what_is_refused(keep: int, name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=says):
        prune_records(tmp_path / name, keep)
    assert list(tmp_path.iterdir()) == []


# Prunes one folder after another, each in a forked process that kills itself one step later than
# the one before: before or after each call that changes the disk.
_KILLED = """
import json, os, signal, sys
from pathlib import Path
from autoglm_tvm.schedules.records import RecordStore, files, prune_records, read_records
from tests.schedules.records.samples import PC, configs, failed, trial

steps_left = 0

def counted(call):
    def run(*arguments, **options):
        step()
        result = call(*arguments, **options)
        step()
        return result
    return run

def step():
    global steps_left
    steps_left -= 1
    if steps_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

records = [trial(1, 0.5), trial(2, 0.6), failed(3), trial(4, target=PC), failed(5, target=PC)]
results = []
ended = None
for last in range(1, 100):
    folder = Path(sys.argv[1]) / str(last)
    RecordStore(folder).append(records)
    child = os.fork()
    if child == 0:
        steps_left = last
        files.os.fsync = counted(os.fsync)
        Path.replace, Path.open = counted(Path.replace), counted(Path.open)
        Path.unlink = counted(Path.unlink)
        prune_records(folder, keep=1)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = read_records(folder)
    left = bool(list(folder.glob(".*.new")))
    prune_records(folder, keep=1)
    names = sorted(path.name for path in folder.iterdir())
    after = configs(read_records(folder))
    results.append([ended, configs(found), len(found.notes), left, after, names])
    if ended != -signal.SIGKILL:
        break
print(json.dumps(results))
"""


def test_killed_at_any_step_a_file_is_old_or_pruned(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *killed, last = json.loads(done.stdout)
    assert last[0] == 0
    assert len(killed) > 10
    for ended, _, notes, _, pruned_again, names in killed:
        assert (ended, notes) == (-signal.SIGKILL, 0)
        # The next prune finds nothing in its way, and clears up.
        assert pruned_again == [1, 4]
        assert names == sorted([".lock", PHONE.file_name, PC.file_name])
    assert any(left for _, _, _, left, _, _ in killed)
    # Nothing pruned, the first file pruned, both pruned.
    states = {tuple(found) for _, found, *_ in killed}
    assert states == {(1, 2, 3, 4, 5), (1, 4, 5), (1, 4)}


def test_a_prune_beside_a_tuning(tmp_path: Path) -> None:
    """What is appended during a prune is not lost with the file that was replaced."""
    store = RecordStore(tmp_path)
    for number in range(20):
        store.append([failed(2 * number), trial(2 * number + 1, 0.5 + number / 100)])
        prune_records(tmp_path, keep=40)
    assert configs(read_records(tmp_path)) == [*range(1, 40, 2)]
