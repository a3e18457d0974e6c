"""The budget: where trials go, and when they stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from autoglm_tvm.schedules.search.budget import Batch, Budget, Limits, Task
from autoglm_tvm.schedules.search.cost_model import CostModel
from autoglm_tvm.schedules.search.knob_search import KnobSearch
from autoglm_tvm.schedules.search.search import Search
from autoglm_tvm.schedules.search.space import Config
from tests.schedules.search.synthetic import NoisyDevice, SyntheticTask


class _ScriptedSearch:
    """A search whose n-th trial takes the seconds that a function of n says."""

    def __init__(
        self, seconds: Callable[[int], float], size: int = 10_000, gain: float = 1.0
    ) -> None:
        self.curve: list[float] = []
        self.size = size
        self._asked = 0
        self._seconds = seconds
        self._gain = gain

    @property
    def best(self) -> tuple[Config, float] | None:
        return ({"trial": 0}, self.curve[-1]) if self.curve else None

    @property
    def spent(self) -> bool:
        return self._asked >= self.size

    def ask(self, count: int) -> list[Config]:
        trials = range(self._asked, min(self.size, self._asked + count))
        self._asked += len(trials)
        return [{"trial": trial} for trial in trials]

    def tell(self, results: Sequence[tuple[Config, float | None]]) -> None:
        for _, seconds in results:
            self.curve.append(min([*self.curve[-1:], seconds or math.inf]))

    def expected_gain(self) -> float:
        return 0.0 if self.spent else self._gain

    def measure(self, configs: list[Config]) -> list[tuple[Config, float | None]]:
        return [(config, self._seconds(int(config["trial"]))) for config in configs]


def _falling(to: float, within: int) -> Callable[[int], float]:
    """From 1 second in even steps to `to` within so many trials."""
    return lambda trial: 1.0 - (1.0 - to) * min(1.0, trial / within)


def _flat(_: int) -> float:
    return 1.0


def _task(name: str, calls: float, search: Search) -> Task:
    return Task(name, calls, 1.0, search)


def _step(budget: Budget) -> Batch | None:
    batch = budget.ask()
    if batch is not None:
        assert isinstance(batch.task.search, _ScriptedSearch)
        budget.tell(batch, batch.task.search.measure(batch.configs))
    return batch


def _run(budget: Budget) -> list[str]:
    names = []
    while batch := _step(budget):
        names.append(batch.task.name)
    return names


def test_tasks_that_matter_warm_up_first_the_largest_before_the_others() -> None:
    tasks = [
        _task("middle", 5, _ScriptedSearch(_falling(0.5, 200))),
        _task("tiny", 0.01, _ScriptedSearch(_falling(0.1, 10))),
        _task("large", 20, _ScriptedSearch(_falling(0.5, 200))),
    ]
    names = _run(Budget(tasks, Limits(max_trials=160)))
    assert names[:2] == ["large", "middle"]
    assert "tiny" not in names
    assert len(names) == 10


def test_trials_go_where_the_total_falls_fastest() -> None:
    tasks = [
        _task("falls", 10, _ScriptedSearch(_falling(0.3, 400))),
        _task("stands still", 10, _ScriptedSearch(_flat)),
        _task("small", 1, _ScriptedSearch(_falling(0.3, 400))),
    ]
    budget = Budget(tasks, Limits(max_trials=400))
    _run(budget)
    falls, still, small = (task.trials for task in tasks)
    assert falls > 2 * still
    assert falls > 4 * small
    assert small > 0
    assert falls + still + small == budget.trials == 400


def test_a_search_that_expects_nothing_gets_no_more() -> None:
    tasks = [
        _task("knows its end", 10, _ScriptedSearch(_flat, gain=0.0)),
        _task("hopes", 1, _ScriptedSearch(_flat, gain=1.0)),
    ]
    _run(Budget(tasks, Limits(max_trials=320, patience=64)))
    assert [task.trials for task in tasks] == [16, 80]


def test_equal_tasks_take_turns() -> None:
    tasks = [_task(name, 1, _ScriptedSearch(_flat)) for name in "ab"]
    _run(Budget(tasks, Limits(max_trials=128, patience=1000)))
    assert [task.trials for task in tasks] == [64, 64]


def test_what_fell_lately_is_expected_to_fall_on() -> None:
    falling, standing = _ScriptedSearch(_flat, gain=0.1), _ScriptedSearch(_flat, gain=0.1)
    falling.curve = [1.0 - trial / 128 for trial in range(64)]
    standing.curve = [falling.curve[-1]] * 64
    tasks = [_task("falling", 1, falling), _task("standing", 1, standing)]
    budget = Budget(tasks, Limits(max_trials=1000))
    assert budget.gain(tasks[0]) > 1.2 * budget.gain(tasks[1]) > 0


def test_it_stops_when_nothing_is_to_be_gained() -> None:
    tasks = [_task(name, 1, _ScriptedSearch(_flat)) for name in "abc"]
    budget = Budget(tasks, Limits(max_trials=10_000, patience=48))
    _run(budget)
    assert [task.trials for task in tasks] == [64, 64, 64]
    assert all(budget.is_done(task) and budget.gain(task) == 0 for task in tasks)


def test_a_spent_space_ends_its_task_and_a_dry_search_does_not_hang() -> None:
    small = _ScriptedSearch(_falling(0.1, 20), size=20)
    dry = _ScriptedSearch(_flat)
    dry.ask = lambda count: []
    tasks = [_task("small", 1, small), _task("dry", 5, dry)]
    budget = Budget(tasks, Limits(max_trials=100))
    assert _run(budget) == ["small", "small"]
    assert small.curve[-1] == pytest.approx(0.145)
    assert budget.trials == 20


def test_batches_in_flight_count_and_spread() -> None:
    tasks = [_task(name, 1, _ScriptedSearch(_falling(0.5, 100))) for name in "ab"]
    budget = Budget(tasks, Limits(max_trials=40))
    first, second, third = budget.ask(), budget.ask(), budget.ask()
    assert first is not None
    assert second is not None
    assert third is not None
    assert {first.task.name, second.task.name} == {"a", "b"}
    assert len(third.configs) == 8
    assert budget.trials == 40
    assert budget.ask() is None
    # A device was lost and took the batch with it: its trials are free again.
    budget.tell(first, [])
    assert budget.trials == 24
    again = budget.ask()
    assert again is not None
    assert again.task is first.task


def test_a_task_is_never_counted_slower_than_untuned() -> None:
    task = Task("slow", 2, 0.5, _ScriptedSearch(_flat))
    budget = Budget([task], Limits(max_trials=16))
    _run(budget)
    assert task.search.best == ({"trial": 0}, 1.0)
    assert task.seconds == 0.5
    assert budget.total_seconds == 1.0


def test_a_resume_goes_on_with_what_the_searches_were_told() -> None:
    def tasks() -> list[Task]:
        return [
            _task("large", 4, _ScriptedSearch(_falling(0.5, 300))),
            _task("small", 1, _ScriptedSearch(_falling(0.5, 300))),
        ]

    whole = Budget(tasks(), Limits(max_trials=320))
    halted = Budget(tasks(), Limits(max_trials=320))
    names = _run(whole)
    for _ in range(7):
        _step(halted)
    assert _run(Budget(halted.tasks, halted.limits)) == names[7:]


def test_no_tasks_and_no_trials_end_at_once() -> None:
    assert Budget([], Limits(max_trials=100)).ask() is None
    task = _task("a", 1, _ScriptedSearch(_flat))
    assert Budget([task], Limits(max_trials=0)).ask() is None


def _network(seed: int) -> tuple[Budget, dict[str, tuple[SyntheticTask, NoisyDevice]]]:
    kernels = [
        (SyntheticTask(1, 1000, 1280), 1),
        (SyntheticTask(196, 256, 1024), 4),
        (SyntheticTask(49, 512, 512), 6),
        (SyntheticTask(128, 1152, 384), 12),
        (SyntheticTask(8, 16, 16), 1),
    ]
    model = CostModel()
    tasks, devices = [], {}
    for kernel, calls in kernels:
        search = KnobSearch(kernel.space(), kernel.features(), model, seed)
        default = kernel.seconds(search.space.default)
        assert default is not None
        tasks.append(Task(str(kernel), calls, default, search))
        devices[str(kernel)] = (kernel, NoisyDevice(kernel, seed))
    return Budget(tasks, Limits(max_trials=1000)), devices


@pytest.mark.slow
def test_a_network_comes_close_to_its_optimum_and_stops_early() -> None:
    budget, devices = _network(seed=0)
    while batch := budget.ask():
        budget.tell(batch, devices[batch.task.name][1].measure(batch.configs))
    optimum = sum(task.calls * devices[task.name][0].optimum() for task in budget.tasks)
    assert budget.total_seconds < 1.04 * optimum
    assert budget.trials < 1000
    trials = [task.trials for task in budget.tasks]
    assert max(trials) == trials[3]
    assert trials[4] == 0
