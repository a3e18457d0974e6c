"""Tuning for real: on this machine behind a tracker, with real builds, records and interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.compiler.tuning.report import EndToEnd
from autoglm_tvm.compiler.tuning.state import TuningState
from autoglm_tvm.compiler.tuning.tune import TuneLimits, tune
from autoglm_tvm.compiler.verify import verify
from autoglm_tvm.rpc.farm import DevicePool, LocalDevice
from autoglm_tvm.schedules.records import Record, read_records, target_identity
from autoglm_tvm.targets import resolve_target
from autoglm_tvm.targets.errors import UserInputError
from tests.rpc.test_device_server import until
from tests.small_disk import run_on_disk

TRIALS = 24


def tuned(model: Path, pool: DevicePool, records: Path, trials: int = TRIALS, **options):
    return tune(
        *(model, "host", pool, records),
        device="a test's machine",
        threads=2,
        limits=TuneLimits(trials),
        **options,
    )


def trials_of(records: Path) -> Counter[str]:
    """How often each configuration was recorded as a trial, and not as a comparison."""
    lines = [line for path in records.glob("*.jsonl") for line in path.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return Counter(
        f"{one['workload']} {json.dumps(one['config'], sort_keys=True)}"
        for one in found
        if not one["checked"] and (one["failure"] or {}).get("kind") != "wrong_result"
    )


@pytest.mark.slow
def test_a_session_from_the_first_trial_to_the_bundle(
    small_model: Path, pool: DevicePool, tmp_path: Path
) -> None:
    seen: list[tuple[int, str]] = []

    def watch(state: TuningState) -> None:
        seen.append((state.trials, state.note))

    report = tuned(small_model, pool, tmp_path / "records", progress=watch)
    state = report.state
    assert report.stopped == "all trials were spent"
    assert state.trials == TRIALS
    assert [trials for trials, _ in seen] == sorted(trials for trials, _ in seen)
    assert sum(state.failures.values()) == 0, report.examples
    assert sum(trials_of(tmp_path / "records").values()) == TRIALS
    assert max(trials_of(tmp_path / "records").values()) == 1
    # What is kept is never slower than the default, and was checked.
    identity = target_identity(resolve_target("host", threads=2))
    records = read_records(tmp_path / "records")
    for task in state.tasks:
        assert task.best_ratio <= 1.0
        if task.default_seconds is not None and task.best_seconds is not None:
            assert task.best_seconds <= task.default_seconds
    best = [records.best(record.workload_hash, identity) for record in records]
    assert all(record.checked for record in best if record is not None)

    result = compile(
        small_model, "host", tmp_path / "bundle", threads=2, records=tmp_path / "records"
    )
    assert result.tuned is not None
    assert len(result.tuned.best) == report.kept
    assert sum(entry.tuned for entry in result.bundle.manifest.kernels) >= report.kept
    assert verify(result.directory, small_model).ok


def test_records_change_what_is_compiled_and_not_what_it_computes(
    small_model: Path, tmp_path: Path
) -> None:
    """Whatever the machine measures: a record by hand is applied, and one of another target not."""
    target = resolve_target("host", threads=2)
    plain = compile(small_model, "host", tmp_path / "plain", threads=2)
    chosen = {
        "matmul": {"rows": 3, "vectors": 2, "steps": 1, "share": "both", "prefetch": 1},
        "conv2d": {"algorithm": "direct", "rows": 2, "vectors": 1, "steps": 1, "pieces": 8},
    }
    store = tmp_path / "records"
    from autoglm_tvm.schedules.records import RecordStore, Timing

    def record(workload: str, config: dict[str, object], threads: int) -> Record:
        identity = target_identity(replace(target, threads=threads))
        timing = Timing(1e-5, 0.0, 10)
        proof = {"default_seconds": 2e-5, "ratio": 0.5, "checked": True}
        return Record(workload, identity, config, "a test", timing, **proof)

    names = {entry.workload for entry in plain.bundle.manifest.kernels}
    kept = [name for name in names if "groups" not in name and name.split()[0] in chosen]
    assert len(kept) == 2
    RecordStore(store).append(record(name, chosen[name.split()[0]], 2) for name in kept)
    other = compile(small_model, "host", tmp_path / "tuned", threads=2, records=store)
    by_name = {entry.workload: entry for entry in other.bundle.manifest.kernels}
    assert {entry.workload for entry in other.bundle.manifest.kernels if entry.tuned} == set(kept)
    assert all("3x" in by_name[n].description for n in kept if n.startswith("matmul"))
    assert other.tuned is not None
    assert (len(other.tuned.best), other.to_json()["records"]["missing"]) == (
        2,
        list(other.tuned.missing),
    )
    x = {"x": np.random.default_rng(0).standard_normal((1, 8, 28, 28)).astype(np.float32)}
    outputs = [open_bundle(folder).run(x)["y"] for folder in (plain.directory, other.directory)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-6)
    # The same inputs give the same bytes, records included.
    again = compile(small_model, "host", tmp_path / "again", threads=2, records=store)
    assert again.bundle.manifest.to_json() == other.bundle.manifest.to_json()

    one_thread = compile(small_model, "host", tmp_path / "one", threads=1, records=store)
    assert one_thread.tuned is not None
    assert not one_thread.tuned.best
    assert not any(entry.tuned for entry in one_thread.bundle.manifest.kernels)


@pytest.mark.slow
def test_resume_repeats_no_trial(small_model: Path, pool: DevicePool, tmp_path: Path) -> None:
    records = tmp_path / "records"
    first = tuned(small_model, pool, records, trials=10)
    assert first.state.trials == 10
    second = tuned(small_model, pool, records, trials=26, resume=True)
    assert second.state.resumed_trials == 10
    assert second.state.trials == 16
    counted = trials_of(records)
    assert sum(counted.values()) == 26
    assert max(counted.values()) == 1
    third = tuned(small_model, pool, records, trials=26, resume=True)
    assert (third.state.trials, third.stopped) == (0, "all trials were spent")


@pytest.mark.slow
def test_a_wrong_candidate_is_never_kept(
    small_model: Path, pool: DevicePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every candidate of this session gets other inputs, so that it computes something else than
    the untuned kernel. All are measured and count as faster; none may be applied."""
    from autoglm_tvm.compiler.tuning import session

    honest = session.check_inputs

    def tampered(candidate, seed):
        arrays = honest(candidate, seed)
        # Not only shifted: a softmax would not mind.
        return tuple(2 * array + 1 for array in arrays) if candidate.config else arrays

    monkeypatch.setattr(session, "check_inputs", tampered)
    monkeypatch.setattr(session, "_WORTH", 10.0)
    report = tuned(small_model, pool, tmp_path / "records", trials=12)
    assert report.kept == 0
    assert report.state.failures["wrong_result"] > 0
    assert "wrong_result" in report.examples
    result = compile(
        small_model, "host", tmp_path / "bundle", threads=2, records=tmp_path / "records"
    )
    assert not any(entry.tuned for entry in result.bundle.manifest.kernels)


SCRIPT = """
import sys
from pathlib import Path
from autoglm_tvm.compiler.tuning.tune import TuneLimits, tune
from autoglm_tvm.rpc.farm import DevicePool
from tests.compiler.tuning.conftest import QUICK
model, records, tracker, key = sys.argv[1:5]
with DevicePool(tracker, key, settings=QUICK) as pool:
    report = tune(
        model, "host", pool, records, device="a test's machine", threads=2,
        limits=TuneLimits(400), resume="--resume" in sys.argv,
    )
print(report.stopped)
"""


def start(small_model: Path, records: Path, here: LocalDevice) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(small_model), str(records), here.tracker, here.key]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def recorded(records: Path) -> int:
    return sum(trials_of(records).values()) if records.is_dir() else 0


@pytest.mark.slow
def test_kill_9_loses_the_trials_in_flight_at_most(
    small_model: Path, here: LocalDevice, pool: DevicePool, tmp_path: Path
) -> None:
    records = tmp_path / "records"
    process = start(small_model, records, here)
    try:
        until(lambda: recorded(records) > 0, "the first records", 120)
        before = set(trials_of(records))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    after = trials_of(records)
    assert before <= set(after)
    report = tuned(small_model, pool, records, trials=sum(after.values()) + 8, resume=True)
    assert report.state.resumed_trials == sum(after.values())
    assert max(trials_of(records).values()) == 1


@pytest.mark.slow
def test_ctrl_c_ends_with_a_report(small_model: Path, here: LocalDevice, tmp_path: Path) -> None:
    records = tmp_path / "records"
    process = start(small_model, records, here)
    until(lambda: recorded(records) > 2, "the first records", 120)
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out.strip()) == (0, "Ctrl-C"), errors
    # The last one may have been half on its way to the disk, and is taken back then.
    assert recorded(records) >= 2


@pytest.mark.slow
def test_two_sessions_on_one_folder(
    small_model: Path, here: LocalDevice, pool: DevicePool, tmp_path: Path
) -> None:
    """They take turns on the only device, share the folder, and neither loses a record."""
    records = tmp_path / "records"
    process = start(small_model, records, here)
    try:
        until(lambda: recorded(records) > 0, "the first records", 120)
        report = tuned(small_model, pool, records, trials=10)
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=120)
    assert report.state.trials == 10
    assert not read_records(records).notes


@pytest.mark.slow
def test_a_full_disk_ends_with_one_message_and_keeps_what_was_written(
    small_model: Path, here: LocalDevice, tmp_path: Path
) -> None:
    script = f"""
import json
from pathlib import Path
sys.argv[1:] = {[str(small_model), "DISK", here.tracker, here.key]!r}
sys.argv[2] = {str(tmp_path / "disk")!r} + "/records"
from autoglm_tvm.targets.errors import AutoglmError
said = ""
try:
    exec({SCRIPT!r})
except AutoglmError as error:
    said = str(error)
texts = [path.read_text() for path in Path(sys.argv[2]).glob("*.jsonl")]
print(json.dumps([said, [line for text in texts for line in text.splitlines()]]))
"""
    (tmp_path / "disk").mkdir()
    said, lines = run_on_disk(tmp_path / "disk", "size=256k", script)
    assert "full" in said or "No space" in said
    assert str(tmp_path / "disk") in said
    assert lines, said
    assert all(json.loads(line)["format"] == 1 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "said"), [(1.01, "leave the records out"), (0.9, "")])
def test_a_model_that_is_not_faster_is_told(
    small_model: Path, pool: DevicePool, tmp_path: Path, ratio: float, said: str
) -> None:
    def compare(default: Path, other: Path) -> EndToEnd:
        assert read_bundle(default).manifest.library == read_bundle(other).manifest.library
        return EndToEnd(1.0, ratio, ratio, (ratio, ratio), 2, "a device", "1 turn")

    report = tuned(small_model, pool, tmp_path / "records", trials=1, compare_bundles=compare)
    assert report.end_to_end is not None
    assert said in report.end_to_end_note
    assert bool(said) == bool(report.end_to_end_note)


def test_limits_are_checked() -> None:
    for wrong in ({"trials": 0}, {"time_s": 0}, {"time_s": -1}):
        with pytest.raises(UserInputError, match="at least one trial"):
            TuneLimits(**wrong)


@pytest.mark.slow
def test_a_time_limit_ends_the_session(small_model: Path, pool: DevicePool, tmp_path: Path) -> None:
    report = tune(
        *(small_model, "host", pool, tmp_path / "records"),
        device="a test's machine",
        threads=2,
        limits=TuneLimits(1000, time_s=1e-3),
    )
    assert report.stopped == "the time limit"
