"""What a tuning session knows at any time: for the live display, and for the report at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class TaskState:
    """One task: a workload, which may be called several times in the model.

    Attributes
    ----------
    workload
        What is computed, as records name it.
    kernel
        Name of the kernel in the model's library that stands for it.
    calls
        How often a run of the model calls kernels of this workload.
    default_seconds
        Of one call with the default schedule; None until it is measured.
    best_seconds
        Of the fastest right candidate, or of the default; None until it is measured.
    best_ratio
        Best over default, measured in turns on one device; 1.0 where the default is kept.
    trials
        Candidates that were tried, failed ones included.
    failures
        How many failed, by kind.
    history
        Trials of this task so far and the best seconds after them, one point for each improvement.
    done
        Why no more is tried: empty while the task is open.
    """

    workload: str
    kernel: str
    calls: int
    default_seconds: float | None = None
    best_seconds: float | None = None
    best_ratio: float = 1.0
    trials: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    history: list[tuple[int, float]] = field(default_factory=list)
    done: str = ""

    @property
    def total_default_seconds(self) -> float:
        """Of all calls in a run of the model, with the default schedule."""
        return (self.default_seconds or 0.0) * self.calls

    @property
    def total_best_seconds(self) -> float:
        """Of all calls in a run of the model, with the best schedule."""
        return (self.best_seconds or 0.0) * self.calls


@dataclass
class DeviceState:
    """A device of the pool, as the display shows it.

    Attributes
    ----------
    name
        Key and address.
    state
        `ready`, `busy`, `cooling`, `lost`, `quarantined`.
    temperature_c
        Of its hottest zone; None where it has none.
    trials
        That it has measured.
    """

    name: str
    state: str
    temperature_c: float | None = None
    trials: int = 0


@dataclass
class TuningState:
    """The whole session.

    Attributes
    ----------
    model, target
        Their names.
    tasks
        In the order of their share of the time.
    devices
        That measure.
    max_trials
        When to stop.
    time_limit_s
        When to stop; None for no limit.
    elapsed_s
        Since the session began.
    searching_s, building_s, measuring_s
        Where the wall time went: the host's search alone, waiting for builds, waiting for devices.
    resumed_trials
        Trials that the records already had.
    note
        What is going on, such as `waiting for device pixel8, lost 12 s ago`.
    """

    model: str
    target: str
    tasks: list[TaskState] = field(default_factory=list)
    devices: list[DeviceState] = field(default_factory=list)
    max_trials: int = 0
    time_limit_s: float | None = None
    elapsed_s: float = 0.0
    searching_s: float = 0.0
    building_s: float = 0.0
    measuring_s: float = 0.0
    resumed_trials: int = 0
    note: str = ""

    @property
    def trials(self) -> int:
        """Tried in this session, by all tasks together."""
        return sum(task.trials for task in self.tasks) - self.resumed_trials

    @property
    def failures(self) -> Counter[str]:
        """Failed trials of all tasks, by kind."""
        return sum((task.failures for task in self.tasks), Counter())
