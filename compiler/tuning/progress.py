"""Numbers that follow from a tuning's state: shares, the gain so far, the time that is left."""

from __future__ import annotations

from collections.abc import Sequence

from autoglm_tvm.compiler.tuning.state import TaskState, TuningState


def by_importance(tasks: Sequence[TaskState]) -> list[TaskState]:
    """Return the tasks, those that take most of the model's time first."""
    return sorted(tasks, key=lambda task: task.total_default_seconds, reverse=True)


def tuned_total_seconds(task: TaskState) -> float:
    """Return the seconds of all calls in a run of the model, with the best schedule.

    By the ratio, which was measured in turns: a device that grew hot meanwhile does not spoil it.
    """
    return task.total_default_seconds * task.best_ratio


def share(task: TaskState, state: TuningState) -> float | None:
    """Return the task's share of the time that all untuned tasks take; None until measured."""
    total = sum(other.total_default_seconds for other in state.tasks)
    return task.total_default_seconds / total if task.default_seconds and total else None


def summed_ratio(state: TuningState) -> float | None:
    """Return the time of all tasks, tuned over untuned; None until one is measured.

    An estimate of the model's gain: kernels behave otherwise between others than alone, and not all
    of a run's time is spent in kernels.
    """
    total = sum(task.total_default_seconds for task in state.tasks)
    return sum(map(tuned_total_seconds, state.tasks)) / total if total else None


def left_by_limit(state: TuningState) -> float | None:
    """Return the seconds until the time limit; None where there is none."""
    if state.time_limit_s is None:
        return None
    return max(0.0, state.time_limit_s - state.elapsed_s)


def left_by_rate(state: TuningState) -> float | None:
    """Return the seconds until all trials are done at the session's rate; None before a trial.

    Those that the records had count as done, but took none of the session's time.
    """
    if state.trials <= 0 or not state.max_trials:
        return None
    left = max(0, state.max_trials - state.trials - state.resumed_trials)
    return left * state.elapsed_s / state.trials


def time_shares(state: TuningState) -> dict[str, float]:
    """Return which share of the wall time went where; what is left over is ``other``."""
    if state.elapsed_s <= 0:
        return {}
    spent = {
        "search": state.searching_s,
        "build": state.building_s,
        "measure": state.measuring_s,
    }
    shares = {name: seconds / state.elapsed_s for name, seconds in spent.items()}
    return {**shares, "other": max(0.0, 1.0 - sum(shares.values()))}
