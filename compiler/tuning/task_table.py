"""The table of tasks, which the live display and the report have in common."""

from __future__ import annotations

from collections.abc import Sequence

from autoglm_tvm.compiler.tuning import texts
from autoglm_tvm.compiler.tuning.progress import share, tuned_total_seconds
from autoglm_tvm.compiler.tuning.state import TaskState, TuningState

_HEADER = ("kernel", "share", "default us", "best us", "change", "trials", "failed")
_WIDE_HEADER = ("kernel", "calls", *_HEADER[1:-1], "failures, state")
#: Columns from which on a line has room for the failures' kinds.
_WIDE = 110


def task_lines(tasks: Sequence[TaskState], state: TuningState, width: int) -> list[str]:
    """Return a header and a line for each task, none longer than ``width``.

    Times are of one call. ``change`` is that of the time, as in ``-27%``.
    """
    wide = width >= _WIDE
    cells = _wide_cells if wide else _cells
    rows = [_WIDE_HEADER if wide else _HEADER, *(cells(task, state) for task in tasks)]
    return texts.aligned(rows, width, text_last=wide)


def best_seconds(task: TaskState) -> float | None:
    """Return the seconds of one call with the best schedule, as `tuned_total_seconds` counts it."""
    return None if task.default_seconds is None else tuned_total_seconds(task) / (task.calls or 1)


def _cells(task: TaskState, state: TuningState) -> tuple[str, ...]:
    return (
        task.kernel,
        texts.percent(share(task, state)),
        texts.microseconds(task.default_seconds),
        texts.microseconds(best_seconds(task)),
        texts.change(task.best_ratio if task.default_seconds is not None else None),
        str(task.trials),
        str(task.failures.total()),
    )


def _wide_cells(task: TaskState, state: TuningState) -> tuple[str, ...]:
    kernel, *numbers, _ = _cells(task, state)
    remark = "; ".join(filter(None, (texts.kinds(task.failures), task.done)))
    return (kernel, str(task.calls), *numbers, texts.printable(remark))
