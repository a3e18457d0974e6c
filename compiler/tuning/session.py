"""The steps of a tuning session: build, measure, confirm what looks faster, record everything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from autoglm_tvm.artifacts.trial import (
    Check,
    Comparison,
    Failure,
    Measurement,
    Trial,
)
from autoglm_tvm.compiler.tuning.builder import Builder, Built
from autoglm_tvm.compiler.tuning.candidate import candidate_of
from autoglm_tvm.compiler.tuning.inputs import check_inputs
from autoglm_tvm.compiler.tuning.open_task import OpenTask
from autoglm_tvm.compiler.tuning.pool import Pool
from autoglm_tvm.compiler.tuning.state import DeviceState, TaskState, TuningState
from autoglm_tvm.schedules.records import (
    Record,
    RecordFailure,
    RecordStore,
    TargetIdentity,
    Timing,
    config_text,
)

# A candidate has to be so much faster than what is kept already to be compared with it again.
_WORTH = 0.99
_SEED = 0
# Share of the reference's largest magnitude; Winograd's transforms take 1e-5 of it.
_TOLERANCE = 1e-3


class TuningSession:
    """The steps of a session; `tune` puts them in order.

    Parameters
    ----------
    pool, builder, store
        What measures, builds, and keeps records.
    identity, device
        The target as records know it, and what measures.
    state
        Kept up to date.
    progress
        Called with the state whenever it changes.
    """

    def __init__(
        self,
        pool: Pool,
        builder: Builder,
        store: RecordStore,
        identity: TargetIdentity,
        device: str,
        state: TuningState,
        progress: Callable[[TuningState], None],
    ) -> None:
        self.pool = pool
        self.builder = builder
        self.store = store
        self.identity = identity
        self.device = device
        self.state = state
        self.examples: dict[str, str] = {}
        self._progress = progress
        self._doing = ""
        # So that waiting for a lost device shows.
        pool.on_tick = self._tick
        self._began = time.monotonic()

    def measure_defaults(self, tasks: Sequence[OpenTask]) -> None:
        """Build and measure every untuned kernel; what cannot be measured is not tuned."""
        with self.timed("building_s"):
            built = self.builder.build([candidate_of(open_task.task, {}) for open_task in tasks])
        for open_task, one in zip(tasks, built, strict=True):
            open_task.default = one
        ready = [task for task in tasks if task.default and task.default.trial]
        trials = [task.default.trial for task in ready if task.default and task.default.trial]
        with self.timed("measuring_s"):
            measured = self.pool.measure(trials)
        for open_task, measurement in zip(ready, measured, strict=True):
            if measurement.failure is None:
                open_task.state.default_seconds = measurement.seconds
                open_task.state.best_seconds = measurement.seconds
                open_task.state.history.append((0, measurement.seconds))
            else:
                self._give_up(open_task, measurement.failure)
        for open_task, one in zip(tasks, built, strict=True):
            if one.failure is not None:
                self._give_up(open_task, one.failure)
        self.show()

    def try_candidates(
        self, asked: Sequence[tuple[OpenTask, Sequence[dict[str, Any]]]]
    ) -> list[list[tuple[dict[str, Any], float | None]]]:
        """Build and measure configurations of tasks; seconds of each, None where it failed."""
        with self.timed("searching_s"):
            candidates = [
                candidate_of(one.task, config) for one, configs in asked for config in configs
            ]
        self.show("building")
        with self.timed("building_s"):
            built = self.builder.build(candidates)
        outcomes = self._measure(built)
        left = iter(zip(built, outcomes, strict=True))
        results: list[list[tuple[dict[str, Any], float | None]]] = []
        for one, configs in asked:
            results.append([])
            for config, (candidate, measurement) in zip(configs, left, strict=False):
                self._count(one, candidate, measurement)
                seconds = None if measurement.failure else measurement.seconds
                results[-1].append((config, seconds))
        self.show()
        return results

    def wait_again(self, found: Sequence[tuple[OpenTask, dict[str, Any], float]]) -> None:
        """Let candidates wait that an earlier session measured and was ended before it compared.

        Each with its task, its configuration and its seconds; they are built again, and no trials.
        """
        with self.timed("building_s"):
            built = self.builder.build([candidate_of(one.task, config) for one, config, _ in found])
        for (one, _, seconds), candidate in zip(found, built, strict=True):
            if candidate.trial is not None:
                one.wait(candidate, seconds)

    def confirm(self, tasks: Sequence[OpenTask], rounds: int = 1) -> None:
        """Check the fastest candidates for right results and compare them with the default.

        Only what was confirmed is ever applied. `rounds` is how many candidates of a task are
        compared at most, where the faster ones turn out to be wrong or not faster.
        """
        for _ in range(rounds):
            promising = [(one, one.promising(_WORTH)) for one in dict.fromkeys(tasks)]
            pairs = [(one, best) for one, best in promising if best is not None]
            if not pairs:
                return
            self.show("comparing with the untuned kernels")
            with self.timed("measuring_s"):
                wrong = self.pool.check([self._check(one, best) for one, best in pairs])
                right = [pair for pair, failure in zip(pairs, wrong, strict=True) if not failure]
                compared = self.pool.compare(
                    [(_trial(one.default), _trial(best)) for one, best in right]
                )
            for (one, best), failure in zip(pairs, wrong, strict=True):
                del one.waiting[_text(best)]
                if failure is not None:
                    self._refuse(one, best, failure)
            for (one, best), comparison in zip(right, compared, strict=True):
                self._keep(one, best, comparison)
            self.show()

    def show(self, note: str = "") -> None:
        """Bring the state up to date and show it; `note` is what is going on from now on."""
        self._doing = note
        self._tick()

    def elapsed_s(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self._began

    def _tick(self) -> None:
        self.state.elapsed_s = self.elapsed_s()
        self.state.note = self.pool.waiting() or self._doing
        self.state.devices = [_device_state(device) for device in self.pool.status()]
        self._progress(self.state)

    def _give_up(self, open_task: OpenTask, failure: Failure) -> None:
        open_task.state.done = f"the untuned kernel fails ({failure.kind.value}): {failure.message}"
        self._note_failure(open_task.state, failure)

    def _measure(self, built: Sequence[Built]) -> list[Measurement]:
        """Measure what could be built; the others keep their failure.

        Each is on the disk as soon as it is known, so that whatever happens to the rest of the
        round takes the trials in flight at most.
        """
        ready = [one for one in built if one.trial is not None]
        self.store.append([self._record(one, _unbuilt(one)) for one in built if one.trial is None])
        self.show("measuring")
        with self.timed("measuring_s"):
            found = self.pool.measure(
                [_trial(one) for one in ready],
                on_result=lambda at, one: self.store.append([self._record(ready[at], one)]),
            )
        measured = iter(found)
        return [_unbuilt(one) if one.trial is None else next(measured) for one in built]

    def _count(self, open_task: OpenTask, one: Built, measurement: Measurement) -> None:
        state = open_task.state
        state.trials += 1
        if measurement.failure is not None:
            self._note_failure(state, measurement.failure)
            return
        open_task.wait(one, measurement.seconds)
        if state.best_seconds is None or measurement.seconds < state.best_seconds:
            state.best_seconds = measurement.seconds
            state.history.append((state.trials, measurement.seconds))

    def _note_failure(self, state: TaskState, failure: Failure) -> None:
        state.failures[failure.kind.value] += 1
        self.examples.setdefault(failure.kind.value, failure.message)

    def _check(self, open_task: OpenTask, best: Built) -> Check:
        assert open_task.default is not None
        return Check(
            candidate=_trial(best),
            reference=_trial(open_task.default),
            candidate_inputs=check_inputs(best.candidate, _SEED),
            reference_inputs=check_inputs(open_task.default.candidate, _SEED),
            results=open_task.task.results,
            tolerance=_TOLERANCE,
        )

    def _refuse(self, open_task: OpenTask, best: Built, failure: Failure) -> None:
        """A candidate that computes something else, or does not run again, is none."""
        assert open_task.search is not None
        open_task.search.tell([(dict(best.candidate.config), None)])
        self._note_failure(open_task.state, failure)
        self.store.append([self._record(best, Measurement((), failure=failure))])
        self._show_best(open_task)
        # Its time is no point of the curve.
        state = open_task.state
        fastest = state.best_seconds or 0.0
        state.history = [point for point in state.history if point[1] >= fastest]

    def _keep(self, open_task: OpenTask, best: Built, comparison: Comparison) -> None:
        """Record how the candidate compares; the default stays where it is not faster."""
        state = open_task.state
        if comparison.failure is not None and comparison.failed == 0:
            # The untuned kernel failed, of which the candidate is innocent.
            self._note_failure(state, comparison.failure)
            self._show_best(open_task)
            return
        if comparison.failure is not None:
            self._refuse(open_task, best, comparison.failure)
            return
        assert open_task.search is not None
        assert state.default_seconds is not None
        record = self._record(best, Measurement((comparison.second_s,), comparison.device))
        timing = Timing(comparison.second_s, 0.0, comparison.rounds)
        against = {"default_seconds": comparison.first_s, "ratio": comparison.ratio}
        self.store.append([replace(record, timing=timing, checked=True, **against)])
        # What it is against the default in turns counts, not two measurements minutes apart.
        seconds = comparison.ratio * state.default_seconds
        open_task.search.tell([(dict(best.candidate.config), seconds)])
        if comparison.ratio < state.best_ratio:
            state.best_ratio = comparison.ratio
            open_task.kept_seconds = seconds
        self._show_best(open_task)

    def _show_best(self, open_task: OpenTask) -> None:
        """The kept one's time, or a faster candidate's that waits to be compared."""
        state = open_task.state
        hopes = [seconds for seconds, _ in open_task.waiting.values()]
        known = [open_task.kept_seconds or state.default_seconds, *hopes]
        state.best_seconds = min((s for s in known if s is not None), default=None)

    def _record(self, one: Built, measurement: Measurement) -> Record:
        failure = measurement.failure
        return Record(
            workload=one.candidate.task.workload,
            target=self.identity,
            config=dict(one.candidate.config),
            device=self.device,
            timing=None if failure else Timing.of(measurement.samples),
            failure=RecordFailure(failure.kind.value, failure.message) if failure else None,
            created=date.today().isoformat(),
        )

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of the block to a number of the state."""
        start = time.monotonic()
        try:
            yield
        finally:
            setattr(self.state, name, getattr(self.state, name) + time.monotonic() - start)


def _trial(built: Built | None) -> Trial:
    assert built is not None
    assert built.trial is not None
    return built.trial


def _unbuilt(built: Built) -> Measurement:
    return Measurement((), failure=built.failure)


def _text(built: Built) -> str:
    return config_text(built.candidate.config)


def _device_state(status: Any) -> DeviceState:
    """What the display shows of a device of the pool."""
    return DeviceState(status.name, status.state.value, status.temperature_c, status.trials)
