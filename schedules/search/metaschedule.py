"""TVM's MetaSchedule as a source of candidates: asked for some, and told how fast they were.

For kernels whose rules have nothing to choose (elementwise, rows, reductions, moves of memory). It
neither builds nor measures: a candidate is a trace, the list of primitives with their sampled
choices, from which any process makes the same kernel again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.schedules.search.metaschedule_context import (
    EFFORTS,
    candidate_cost,
    candidates,
    cost_model,
    evolve,
    sample,
    search_context,
)
from autoglm_tvm.schedules.search.metaschedule_postproc import postprocessors
from autoglm_tvm.schedules.search.metaschedule_space import (
    design_spaces,
    mutators,
)
from autoglm_tvm.schedules.search.metaschedule_workload import MAIN, prepare, restored
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tvm import tirx

# Results before the cost model is asked.
_WARM_UP = 16
# Of the candidates of a round, the part that is sampled whatever the cost model says of it.
_RANDOM = 0.1
# The fastest candidates, from which the next ones descend.
_PARENTS = 8
# Rounds that bring nothing new before a space is taken for spent.
_EMPTY_ROUNDS = 3


class MetaScheduleSearch:
    """Candidates for one kernel.

    Attributes
    ----------
    refused
        Why there are none; empty where there are.
    """

    def __init__(
        self, function: tirx.PrimFunc, target: Target, *, seed: int, max_trials: int
    ) -> None:
        """Analyse the kernel.

        Parameters
        ----------
        function
            An unscheduled kernel, as the stage `optimise` leaves it.
        target
            The machine that it is for.
        seed
            Of the random numbers: with the same results a search asks for the same candidates.
        max_trials
            The number of candidates after which `ask` has no more.
        """
        self.refused = ""
        self._left = max_trials
        self._seed = seed % (1 << 30) + 1
        self._rounds = 0
        self._seen: set[int] = set()
        self._asked: dict[str, Any] = {}
        self._fastest: list[tuple[float, Any]] = []
        with _context(target) as tvm_target:
            machine = machine_of(target)
            try:
                self._workload = prepare(function, machine)
            except ValueError as error:
                self.refused = str(error)
                return
            self._spaces = design_spaces(self._workload, machine, self._seed)
            if not self._spaces:
                self.refused = "no schedule of the search fits the kernel"
                return
            self._start(tvm_target)

    def _start(self, tvm_target: Any) -> None:
        from tvm.s_tir.meta_schedule.database import MemoryDatabase

        self._model = cost_model(self._seed, _WARM_UP)
        self._postprocessors = postprocessors()
        for self._effort in EFFORTS:
            self._tuning = search_context(
                self._workload.module,
                tvm_target,
                self._postprocessors,
                mutators(),
                self._effort,
                self._seed,
            )
            # How many trials there are is counted here, not there.
            self._tuning.search_strategy.pre_tuning(
                1, 1, self._spaces, MemoryDatabase(), self._model
            )
            if candidate_cost(self._tuning, self._model) < self._effort.cost_s:
                break

    def ask(self, count: int) -> list[dict[str, Any]]:
        """Up to `count` candidates, none twice; fewer at the end, none when there are no more.

        Each is `{"workload": <hash>, "trace": <what JSON can hold>}`.
        """
        if self.refused:
            return []
        found: list[dict[str, Any]] = []
        empty = 0
        wanted = min(count, self._left)
        with _random_numbers(self._seed + self._rounds):
            while len(found) < wanted and empty < _EMPTY_ROUNDS:
                fresh = self._round(wanted - len(found))
                empty = 0 if fresh else empty + 1
                found += fresh
        self._left = 0 if empty == _EMPTY_ROUNDS else self._left - len(found)
        return found

    def is_of_kernel(self, config: dict[str, Any]) -> bool:
        """Whether a configuration is a trace of this kernel, and not knobs or another's trace."""
        return not self.refused and config.get("workload") == self._workload.digest

    def tell(self, results: Sequence[tuple[dict[str, Any], float | None]]) -> None:
        """Take the seconds that candidates took, None for one that failed.

        They need not be of this search: those of an earlier one are not asked for again.

        Raises
        ------
        ValueError
            One is of another kernel.
        """
        if self.refused or not results:
            return
        from tvm.s_tir.meta_schedule.runner import RunnerResult

        schedules, outcomes = [], []
        for config, seconds in results:
            schedule = self._asked.pop(_key(config), None)
            if schedule is None:
                schedule = _replayed(self._workload, config)
                self._is_new(schedule)
            schedules.append(schedule)
            if seconds is None:
                outcomes.append(RunnerResult(None, "failed"))
            else:
                outcomes.append(RunnerResult([seconds], None))
                self._fastest.append((seconds, schedule))
        self._fastest = sorted(self._fastest, key=lambda pair: pair[0])[:_PARENTS]
        self._model.update(self._tuning, candidates(schedules), outcomes)

    def _round(self, count: int) -> list[dict[str, Any]]:
        """New candidates of one round of evolution."""
        self._rounds += 1
        sampled = sample(self._tuning, self._effort.population)
        population = [schedule for _, schedule in self._fastest] + sampled
        any_of_them = int(count * _RANDOM)
        evolved = evolve(self._tuning, population, count - any_of_them)
        chosen = [schedule for schedule in evolved if self._is_new(schedule)]
        for schedule in sampled:
            if len(chosen) < count and self._is_new(schedule):
                chosen.append(schedule)
        configs = []
        for schedule in chosen:
            trace = _plain(schedule.trace.as_json())
            configs.append({"workload": self._workload.digest, "trace": trace})
            self._asked[_key(configs[-1])] = schedule
        return configs

    def _is_new(self, schedule: Any) -> bool:
        """Whether no candidate so far was the same loops; from now on this one is."""
        import tvm_ffi

        digest = tvm_ffi.structural_hash(schedule.mod)
        new = digest not in self._seen
        self._seen.add(digest)
        return new


def apply_trace(function: tirx.PrimFunc, config: dict[str, Any], target: Target) -> tirx.PrimFunc:
    """Schedule a kernel as a candidate says: in any process the same loops.

    Parameters
    ----------
    function
        The unscheduled kernel, as the stage `optimise` leaves it.
    config
        What `MetaScheduleSearch.ask` returned, or was read from JSON.
    target
        The target for which it was asked.

    Raises
    ------
    ValueError
        It is of another kernel or another target, or not a candidate at all.
    """
    with _context(target):
        schedule = _replayed(prepare(function, machine_of(target)), config)
    return restored(schedule.mod[MAIN], function)


def _replayed(workload: Any, config: dict[str, Any]) -> Any:
    from tvm import s_tir

    if config.get("workload") != workload.digest:
        raise ValueError(
            f"the trace is of kernel {config.get('workload')}, this is {workload.digest}"
        )
    schedule: Any = s_tir.Schedule(workload.module, error_render_level="fast")
    try:
        s_tir.Trace.apply_json_to_schedule(config["trace"], schedule)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"the trace does not fit the kernel: {reason}") from error
    return schedule


def _plain(value: Any) -> Any:
    """A trace in types that JSON has."""
    from tvm import tirx

    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, tirx.IntImm):
        return int(value)
    if isinstance(value, tirx.FloatImm):
        return float(value.value)
    return value


def _key(config: dict[str, Any]) -> str:
    return json.dumps(config["trace"], separators=(",", ":"))


@contextmanager
def _context(target: Target) -> Iterator[Any]:
    import tvm

    tvm_target = tvm.target.Target(target.to_tvm_dict())
    with tvm_target:
        yield tvm_target


@contextmanager
def _random_numbers(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, which the cost model takes before it knows anything."""
    import numpy as np

    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
