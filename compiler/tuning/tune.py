"""Tune a model on devices: the public call behind `autoglm-tvm tune`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.compile import CompileResult, compile, refined_target
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.compiler.quantize import quantize
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.tuning.builder import Builder
from autoglm_tvm.compiler.tuning.open_task import OpenTask
from autoglm_tvm.compiler.tuning.pool import Pool
from autoglm_tvm.compiler.tuning.report import EndToEnd, TuningReport
from autoglm_tvm.compiler.tuning.searches import Known, make_searches, uncompared
from autoglm_tvm.compiler.tuning.session import TuningSession
from autoglm_tvm.compiler.tuning.state import TaskState, TuningState
from autoglm_tvm.compiler.tuning.tasks import tuning_tasks
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.schedules.records import (
    RecordSet,
    RecordStore,
    shipped_records,
    target_identity,
    workload_hash,
)
from autoglm_tvm.schedules.search.budget import Budget, Limits, Task
from autoglm_tvm.targets import Target, choose_linker
from autoglm_tvm.targets.errors import AutoglmError, UserInputError
from autoglm_tvm.targets.versions import check_versions

if TYPE_CHECKING:
    import onnx

_CTRL_C = "Ctrl-C"
_NOT_FASTER = (
    "the whole model is not faster: leave the records out, or tune again while nothing else runs "
    "on the device"
)
# Candidates that are built before they are measured.
_ROUND = 32
# Candidates of each task that are compared at the end.
_LAST_ROUNDS = 3
# Trials that a task gets at once: a fortieth of all, within these.
_LEAST_BATCH, _MOST_BATCH, _BATCHES = 4, 16, 40
# Measures two bundles in turns on one device; the first is the untuned one.
CompareBundles = Callable[[Path, Path], EndToEnd]


@dataclass(frozen=True)
class TuneLimits:
    """When a session stops by itself.

    Attributes
    ----------
    trials
        Candidates to be tried, with those of resumed sessions.
    time_s
        Wall time; None for no limit.
    """

    trials: int = 1000
    time_s: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1 or (self.time_s is not None and self.time_s <= 0):
            raise UserInputError(
                "a tuning session needs at least one trial, and some time",
                hint="give --trials 1 or more, and --time-limit such as 30m or 2h",
            )


def tune(
    model: str | Path | onnx.ModelProto,
    target: str | Target,
    pool: Pool,
    records: str | Path,
    *,
    device: str,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    threads: int | None = None,
    cpu: str | None = None,
    features: str | None = None,
    limits: TuneLimits | None = None,
    resume: bool = False,
    seed: int = 0,
    name: str | None = None,
    compare_bundles: CompareBundles | None = None,
    progress: Callable[[TuningState], None] | None = None,
) -> TuningReport:
    """Search for faster schedules of a model's kernels, measured on devices, and record them.

    Parameters
    ----------
    model, target, shapes, threads, cpu, features
        As for `compile`.
    pool
        The devices: an open `rpc.farm.DevicePool`.
    records
        Folder of the records; it may hold others, and grows.
    device
        The devices' CPU, for the records.
    limits
        When to stop.
    resume
        Go on where an earlier session in `records` stopped: its trials count, and none is repeated.
        Without it they are the first candidates.
    seed
        Of the search.
    name
        Of the model, for the report; by default its file's.
    compare_bundles
        Measures the whole model before and after; left out where None.
    progress
        Called with the state as it changes.

    Returns
    -------
    TuningReport
        Also after Ctrl-C, which loses the trials in flight at most.

    Raises
    ------
    UserInputError
        The model, the target or the folder is wrong.
    MissingToolError
        No device is left, or a tool is missing. What was recorded stays.
    """
    check_versions()
    target = refined_target(target, None, cpu=cpu, features=features, threads=threads)
    limits = limits or TuneLimits()
    choose_linker(target)
    store = RecordStore(Path(records))
    name = name or (Path(model).stem if isinstance(model, (str, Path)) else model.graph.name)
    state = TuningState(name, target.name, max_trials=limits.trials, time_limit_s=limits.time_s)
    graph = read(model, shapes)
    choices = Choices()
    with _under(target):
        integers = quantize(graph, target).model
        optimised = optimise(import_onnx(integers), target, choices)
        tasks = [
            OpenTask(task, TaskState(task.workload, task.kernel, task.calls))
            for task in tuning_tasks(optimised, choices, machine_of(target))
        ]
    if not tasks:
        raise UserInputError(
            "there is nothing to tune: the sizes of all kernels depend on free dimensions",
            where=state.model,
            hint="fix the inputs' shapes to what the app uses: --shape NAME=1,3,224,224",
        )
    state.tasks = [one.state for one in tasks]
    cold_bytes = sum(array.nbytes for _, array in optimised.weights)
    end_to_end, note = None, "it was not asked for"
    with tempfile.TemporaryDirectory(prefix="autoglm-tune-") as folder:
        work = Path(folder)
        with Builder(target, work, cold_bytes=cold_bytes) as builder, _under(target):
            session = TuningSession(
                *(pool, builder, store, target_identity(target), device, state),
                progress or (lambda _: None),
            )
            stopped = _search(session, tasks, target, limits, resume, seed)
        if stopped == _CTRL_C:
            note = "the session was interrupted; --resume goes on"
        elif compare_bundles is not None:
            end_to_end, note = _end_to_end(
                lambda **more: compile(model, target, shapes=shapes, name="model", **more),
                *(store.folder, compare_bundles, work),
            )
    kept = _settle(tasks, store, target)
    return TuningReport(state, stopped, Path(records), kept, session.examples, end_to_end, note)


def _settle(tasks: Sequence[OpenTask], store: RecordStore, target: Target) -> int:
    """Show what the records prove, which `compile` will apply; return how many there are."""
    identity, kept = target_identity(target), 0
    for one in tasks:
        best = store.best(workload_hash(one.task.workload), identity)
        one.state.best_ratio = best.ratio if best and best.ratio is not None else 1.0
        if one.state.default_seconds is not None:
            one.state.best_seconds = one.state.best_ratio * one.state.default_seconds
        kept += best is not None
    return kept


@contextmanager
def _under(target: Target) -> Iterator[None]:
    """What kernels are lowered and built under."""
    import tvm

    with tvm.target.Target(target.to_tvm_dict()), wide_indices():
        yield


def _search(
    session: TuningSession,
    tasks: Sequence[OpenTask],
    target: Target,
    limits: TuneLimits,
    resume: bool,
    seed: int,
) -> str:
    """Try candidates until there is a reason to stop; return it."""
    stopped = _CTRL_C
    with contextlib.suppress(KeyboardInterrupt):
        session.show("measuring the untuned kernels")
        session.measure_defaults(tasks)
        known = Known(_all_known(session.store), session.identity, resume)
        make_searches(tasks, target, known, seed)
        if resume:
            searched = [one for one in tasks if one.search is not None]
            session.wait_again([each for one in searched for each in uncompared(one, known)])
        session.state.resumed_trials = sum(one.state.trials for one in tasks)
        reason = _spend(session, tasks, limits)
        session.confirm(tasks, rounds=_LAST_ROUNDS)
        stopped = reason
    return stopped


def _all_known(store: RecordStore) -> RecordSet:
    """The session's records, and those that came with the package."""
    store.refresh()
    known = RecordSet(store)
    for record in shipped_records():
        known.add(record, shipped=True)
    return known


def _spend(session: TuningSession, tasks: Sequence[OpenTask], limits: TuneLimits) -> str:
    """Ask, measure, tell, confirm, until trials, time or hope are spent."""
    budget, searched = _budget(tasks, limits)
    while True:
        if limits.time_s is not None and session.elapsed_s() > limits.time_s:
            return "the time limit"
        batches = []
        with session.timed("searching_s"):
            while sum(len(batch.configs) for batch in batches) < _ROUND:
                batch = budget.ask()
                if batch is None:
                    break
                batches.append(batch)
        if not batches:
            spent = budget.trials >= budget.limits.max_trials
            return "all trials were spent" if spent else "no further gain is to be expected"
        asked = [(searched[id(batch.task)], batch.configs) for batch in batches]
        results = session.try_candidates(asked)
        with session.timed("searching_s"):
            for batch, result in zip(batches, results, strict=True):
                budget.tell(batch, result)
        session.confirm([one for one, _ in asked])


def _budget(tasks: Sequence[OpenTask], limits: TuneLimits) -> tuple[Budget, dict[int, OpenTask]]:
    """The budget over the tasks that have a search; and which task is which."""
    of_budget = {
        one.state.workload: Task(
            one.state.workload, one.state.calls, one.state.default_seconds or 0.0, one.search
        )
        for one in tasks
        if one.search is not None
    }
    told = sum(task.trials for task in of_budget.values())
    resumed = sum(one.state.trials for one in tasks)
    batch = max(_LEAST_BATCH, min(_MOST_BATCH, limits.trials // _BATCHES))
    # What was told beside earlier trials are the untuned kernels.
    budget = Budget(list(of_budget.values()), Limits(limits.trials + told - resumed, batch=batch))
    named = {one.state.workload: one for one in tasks}
    return budget, {id(task): named[name] for name, task in of_budget.items()}


def _end_to_end(
    compiled: Callable[..., CompileResult], records: Path, compare: CompareBundles, work: Path
) -> tuple[EndToEnd | None, str]:
    """Compile the whole model with and without the records, and measure both in turns."""
    try:
        default = compiled(output=work / "default")
        tuned = compiled(output=work / "tuned", records=records)
        found = compare(default.directory, tuned.directory)
        return found, "" if found.ratio < 1 else _NOT_FASTER
    except AutoglmError as error:
        return None, f"it could not be measured: {error.what}"
    except KeyboardInterrupt:
        return None, "it was interrupted"
