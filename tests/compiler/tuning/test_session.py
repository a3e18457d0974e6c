"""A session's steps with devices that say what a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from autoglm_tvm.artifacts.trial import (
    Check,
    Comparison,
    Failure,
    FailureKind,
    Measurement,
    TensorType,
    Trial,
)
from autoglm_tvm.compiler.tuning import builder as builder_module
from autoglm_tvm.compiler.tuning.builder import Builder, Built
from autoglm_tvm.compiler.tuning.candidate import Candidate
from autoglm_tvm.compiler.tuning.open_task import OpenTask
from autoglm_tvm.compiler.tuning.searches import Known, uncompared
from autoglm_tvm.compiler.tuning.session import TuningSession
from autoglm_tvm.compiler.tuning.state import TaskState, TuningState
from autoglm_tvm.compiler.tuning.tasks import TuningTask
from autoglm_tvm.schedules.records import RecordStore, read_records, target_identity
from autoglm_tvm.schedules.search.cost_model import CostModel
from autoglm_tvm.schedules.search.knob_search import KnobSearch
from autoglm_tvm.schedules.search.space import Space
from autoglm_tvm.targets import resolve_target
from autoglm_tvm.targets.errors import MissingToolError

SPACE = Space({"rows": tuple(range(1, 65))}, {"rows": 1})
TENSOR = TensorType("float32", (4, 4))
DEFAULT_S = 10e-3
IDENTITY = target_identity(resolve_target("host", threads=2))
Answer = Callable[[int], Comparison]


def seconds_of(rows: int) -> float:
    """The default is the slowest, 64 rows are the fastest."""
    return DEFAULT_S / rows


def rows_of(trial: Trial) -> int:
    return int(trial.name.rpartition(" ")[2])


def faster(rows: int) -> Comparison:
    ratio = 1 / rows
    return Comparison(ratio, ratio, ratio, DEFAULT_S, ratio * DEFAULT_S, 5, "device")


class Devices:
    """Measures at once; compares as it was told."""

    def __init__(self, answer: Answer = faster, wrong: Failure | None = None) -> None:
        self.on_tick: Callable[[], None] = lambda: None
        self.compared: list[int] = []
        self.lost_after = -1
        self._answer = answer
        self._wrong = wrong

    def measure(
        self,
        trials: Sequence[Trial],
        *,
        on_result: Callable[[int, Measurement], None] | None = None,
    ) -> list[Measurement]:
        found = []
        for number, trial in enumerate(trials):
            if number == self.lost_after:
                raise MissingToolError("no device is left")
            found.append(Measurement((seconds_of(rows_of(trial)),), "device"))
            if on_result is not None:
                on_result(number, found[-1])
        return found

    def compare(self, pairs: Sequence[tuple[Trial, Trial]]) -> list[Comparison]:
        self.compared += [rows_of(second) for _, second in pairs]
        return [self._answer(rows_of(second)) for _, second in pairs]

    def check(self, checks: Sequence[Check]) -> list[Failure | None]:
        return [self._wrong for _ in checks]

    def status(self) -> Sequence[Any]:
        return ()

    def waiting(self) -> str:
        return ""


class Builds:
    """Builds nothing, at once."""

    def build(self, candidates: Sequence[Candidate]) -> list[Built]:
        return [
            Built(
                one,
                Trial(f"kernel {one.config.get('rows', 1)}", Path(), "kernel", one.arguments, 1),
            )
            for one in candidates
        ]


def open_task() -> OpenTask:
    task = TuningTask(
        *("matmul float32 4x4 * 4x4", "matmul", 1, None, None, SPACE, (TENSOR, TENSOR), {})
    )
    search = KnobSearch(SPACE, {}, CostModel(), 0)
    return OpenTask(task, TaskState(task.workload, task.kernel, 1), search)


def session_of(folder: Path, devices: Devices) -> TuningSession:
    state = TuningState("model", "host")
    return TuningSession(
        *(devices, cast(Builder, Builds()), RecordStore(folder), IDENTITY, "a test", state),
        lambda _: None,
    )


def tried(session: TuningSession, rows: Sequence[int]) -> OpenTask:
    one = open_task()
    session.measure_defaults([one])
    session.try_candidates([(one, [{"rows": number} for number in rows])])
    return one


def test_the_fastest_waits_for_its_comparison_and_few_others(tmp_path: Path) -> None:
    """However many were tried: each holds a kernel and a library."""
    devices = Devices()
    session = session_of(tmp_path, devices)
    one = tried(session, range(2, 65))
    assert len(one.waiting) == 16
    session.confirm([one], rounds=2)
    # Nothing that is left is faster than what was kept first.
    assert devices.compared == [64]
    assert one.state.best_ratio == pytest.approx(1 / 64)


def test_what_was_measured_before_the_last_device_was_lost_is_on_the_disk(tmp_path: Path) -> None:
    devices = Devices()
    session = session_of(tmp_path, devices)
    one = open_task()
    session.measure_defaults([one])
    devices.lost_after = 3
    with pytest.raises(MissingToolError, match="no device is left"):
        session.try_candidates([(one, [{"rows": rows} for rows in (2, 8, 4, 3, 7)])])
    left = read_records(tmp_path)
    assert sorted(record.config["rows"] for record in left) == [2, 4, 8]


def test_a_resumed_session_compares_what_the_interrupted_one_had_not(tmp_path: Path) -> None:
    tried(session_of(tmp_path, Devices()), (2, 8, 4, 3, 7))  # and then it was killed
    devices = Devices()
    session = session_of(tmp_path, devices)
    one = open_task()
    session.measure_defaults([one])
    known = Known(session.store, IDENTITY, resume=True)
    found = uncompared(one, known)
    assert [config["rows"] for _, config, _ in found] == [8, 7, 4]
    session.wait_again(found)
    assert one.state.trials == 0
    session.confirm([one])
    assert devices.compared == [8]
    assert one.state.best_ratio == pytest.approx(1 / 8)
    one.kept_seconds = DEFAULT_S / 8
    assert uncompared(one, known) == []


def test_a_candidate_is_not_blamed_where_the_default_fails(tmp_path: Path) -> None:
    failure = Failure(FailureKind.crash, "illegal instruction")
    never = float("inf")
    lost = Comparison(0.0, 0.0, 0.0, never, never, 0, "device", failure, failed=0)
    session = session_of(tmp_path, Devices(lambda _: lost))
    one = tried(session, (2, 4))
    session.confirm([one])
    assert (one.state.best_ratio, one.state.failures["crash"]) == (1.0, 1)
    assert all(record.failure is None for record in session.store)
    assert list(one.waiting) == ['{"rows":2}']


def test_the_curve_forgets_what_was_wrong(tmp_path: Path) -> None:
    wrong = Failure(FailureKind.wrong_result, "differs")
    session = session_of(tmp_path, Devices(wrong=wrong))
    one = tried(session, (2, 4))
    session.confirm([one])
    assert one.state.best_seconds == pytest.approx(seconds_of(2))
    assert one.state.history == [(0, seconds_of(1)), (1, seconds_of(2))]


def test_ctrl_c_does_not_wait_for_what_is_not_yet_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    built: list[object] = []

    def build(_process: object, job: object) -> str:
        begun.set()
        built.append(job)
        threading.Event().wait(0.05)
        return ""

    class Interrupted(builder_module.ThreadPoolExecutor):
        def submit(self, *given: Any, **named: Any) -> Any:
            super().submit(*given, **named)
            begun.wait(30)
            raise KeyboardInterrupt

    monkeypatch.setattr(builder_module, "_built", build)
    monkeypatch.setattr(builder_module, "ThreadPoolExecutor", Interrupted)
    monkeypatch.setattr(Builder, "_job", lambda _self, candidate: candidate)
    with (
        Builder(resolve_target("host"), tmp_path, workers=1) as builder,
        pytest.raises(KeyboardInterrupt),
    ):
        builder.build([cast(Candidate, object())] * 100)
    assert len(built) < 5
