"""Which task the next trials go to, and when it is enough.

The task scheduler of Zheng et al., "Ansor" (OSDI 2020), section 6: the time of a network is the
sum of calls * seconds over its tasks, and the next trials go where this sum falls fastest. How
fast is a mean of a look back, at what a task's latest trials gained, and an optimistic look ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoglm_tvm.schedules.search.search import Search
from autoglm_tvm.schedules.search.space import Config

# Weight of the look back (alpha of the paper).
_BACKWARD = 0.2
# Share of all trials that may go to a first batch for each task, before gains decide.
_WARM_UP = 0.5


@dataclass(frozen=True)
class Task:
    """One kernel to be tuned.

    Attributes
    ----------
    name
        For messages.
    calls
        How often the network calls it.
    default_seconds
        Seconds per call untuned, as measured in the network.
    search
        Where its candidates come from.
    """

    name: str
    calls: float
    default_seconds: float
    search: Search

    @property
    def trials(self) -> int:
        """Trials that were told."""
        return len(self.search.curve)

    def seconds_after(self, trials: int) -> float:
        """Best seconds per call after so many trials; never above the untuned kernel's."""
        done = min(trials, self.trials)
        return min(self.default_seconds, self.search.curve[done - 1] if done > 0 else math.inf)

    @property
    def seconds(self) -> float:
        """Best seconds per call so far."""
        return self.seconds_after(self.trials)


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes
    ----------
    max_trials
        Of all tasks together, those told before this session (a resume) among them.
    batch
        Trials that a task gets at once.
    warm_up_share
        Tasks with a smaller share of the total get no first batch before gains decide.
    patience
        Trials of a task without a gain, after which it is spent.
    least_gain
        Share of the total that counts as a gain: in `patience` trials of a task, and expected of
        its next batch.
    """

    max_trials: int
    batch: int = 16
    warm_up_share: float = 0.01
    patience: int = 96
    least_gain: float = 0.0005


@dataclass(frozen=True)
class Batch:
    """Configurations of one task, to be built and measured."""

    task: Task
    configs: list[Config]


class Budget:
    """Divides trials among tasks: ask for a batch, measure it, tell its results.

    Batches may be asked for ahead of results (to build while measuring). Nothing is random here:
    the same results in the same order give the same batches.
    """

    def __init__(self, tasks: Sequence[Task], limits: Limits) -> None:
        self.tasks = tuple(tasks)
        self.limits = limits
        # Trials that were asked for and not told, by position of the task.
        self._in_flight = [0] * len(self.tasks)
        # Tasks whose search had nothing to offer any more.
        self._dry: set[int] = set()

    @property
    def total_seconds(self) -> float:
        """Sum of calls * best seconds over all tasks."""
        return sum(task.calls * task.seconds for task in self.tasks)

    @property
    def trials(self) -> int:
        """Trials of all tasks, told or in flight."""
        return sum(task.trials for task in self.tasks) + sum(self._in_flight)

    def ask(self) -> Batch | None:
        """The next batch; None when the trials are spent or nothing is to be gained any more.

        With batches in flight None is provisional: ask again after their results are told.
        """
        while (count := min(self.limits.batch, self.limits.max_trials - self.trials)) > 0:
            at = self._next()
            if at is None:
                return None
            task = self.tasks[at]
            if configs := task.search.ask(count):
                self._in_flight[at] += len(configs)
                return Batch(task, configs)
            self._dry.add(at)
        return None

    def tell(self, batch: Batch, results: Sequence[tuple[Config, float | None]]) -> None:
        """Take the results of a batch; configurations without one count as not tried."""
        at = self.tasks.index(batch.task)
        self._in_flight[at] -= len(batch.configs)
        batch.task.search.tell(results)

    def is_done(self, task: Task) -> bool:
        """Whether its space is spent, or its last `patience` trials gained next to nothing."""
        if task.search.spent or self.tasks.index(task) in self._dry:
            return True
        if task.trials <= self.limits.patience:
            return False
        before = task.seconds_after(task.trials - self.limits.patience)
        return task.calls * (before - task.seconds) < self.limits.least_gain * self.total_seconds

    def gain(self, task: Task) -> float:
        """Seconds that the next batch is expected to take off the total; 0 for a task that is done.

        Ansor's gradient times the batch. Its look ahead takes the smaller of two hopes: that as
        many trials again as were made bring the kernel to nothing, and that it reaches what similar
        kernels do. The latter is what the search expects, whose model learnt from them.
        """
        if self.is_done(task):
            return 0.0
        batch = self.limits.batch
        tried = task.trials + self._in_flight[self.tasks.index(task)]
        backward = task.seconds_after(task.trials - batch) - task.seconds if task.trials else 0.0
        hope = min(batch / max(tried, batch), task.search.expected_gain())
        return task.calls * (_BACKWARD * backward + (1.0 - _BACKWARD) * hope * task.seconds)

    def _next(self) -> int | None:
        """Position of the task that gets the next batch."""
        if self.trials < _WARM_UP * self.limits.max_trials:
            cold = [at for at, task in enumerate(self.tasks) if self._is_cold(task)]
            if cold:
                return max(cold, key=lambda at: _untuned(self.tasks[at]))
        gains = [self.gain(task) for task in self.tasks]
        best = max(range(len(gains)), key=gains.__getitem__, default=None)
        if best is None or gains[best] < self.limits.least_gain * self.total_seconds:
            return None
        return best

    def _is_cold(self, task: Task) -> bool:
        """Whether a task that matters has had no trial yet."""
        least = self.limits.warm_up_share * sum(_untuned(one) for one in self.tasks)
        tried = task.trials + self._in_flight[self.tasks.index(task)]
        return tried == 0 and _untuned(task) >= least and not self.is_done(task)


def _untuned(task: Task) -> float:
    return task.calls * task.default_seconds
