"""What a tuning has come to: the state at its end, and what the whole model gained, measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoglm_tvm.compiler.tuning.progress import (
    by_importance,
    share,
    summed_ratio,
    time_shares,
    tuned_total_seconds,
)
from autoglm_tvm.compiler.tuning.state import TaskState, TuningState
from autoglm_tvm.targets.errors import UserInputError

#: Of the JSON file.
FORMAT = 1


@dataclass(frozen=True)
class EndToEnd:
    """The whole model before and after, both measured in turns on the same device.

    Attributes
    ----------
    default_seconds, tuned_seconds
        Medians of one run.
    ratio, quartiles
        Tuned over default: the median and the quartiles of pairs of neighbouring turns. They tell
        more than the quotient of the medians where the device's clock drifts.
    threads
        That a run used.
    device
        Its key and address, or the host.
    how
        What was done, such as ``15 turns of each, 3 s a side``.
    """

    default_seconds: float
    tuned_seconds: float
    ratio: float
    quartiles: tuple[float, float]
    threads: int
    device: str
    how: str


@dataclass(frozen=True)
class TuningReport:
    """A finished tuning, whatever ended it.

    Attributes
    ----------
    state
        At the end.
    stopped
        Why it ended.
    records
        Folder of the records.
    kept
        Records that `compile` will apply. Each was checked for right results on the device.
    examples
        What one failure of each kind said.
    end_to_end
        None where it was not measured.
    end_to_end_note
        Why it was not measured, or what spoils it.
    """

    state: TuningState
    stopped: str
    records: Path
    kept: int
    examples: dict[str, str] = field(default_factory=dict)
    end_to_end: EndToEnd | None = None
    end_to_end_note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values: seconds, shares and ratios below 1 for what became faster."""
        state = self.state
        return {
            "format": FORMAT,
            "model": state.model,
            "target": state.target,
            "stopped": self.stopped,
            "end_to_end": None if self.end_to_end is None else asdict(self.end_to_end),
            "end_to_end_note": self.end_to_end_note,
            "summed_ratio_estimate": summed_ratio(state),
            "trials": state.trials,
            "resumed_trials": state.resumed_trials,
            "max_trials": state.max_trials,
            "time_limit_s": state.time_limit_s,
            "elapsed_s": state.elapsed_s,
            "searching_s": state.searching_s,
            "building_s": state.building_s,
            "measuring_s": state.measuring_s,
            "time_shares": time_shares(state),
            "failures": dict(state.failures),
            "failure_examples": dict(self.examples),
            "records": str(self.records),
            "kept_records": self.kept,
            "devices": [asdict(device) for device in state.devices],
            "tasks": [_task_json(task, state) for task in by_importance(state.tasks)],
        }

    def write_json(self, path: Path) -> None:
        """Write `to_json` to a file; `UserInputError` where that cannot be."""
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a part of the report; its folder is made.

    Raises
    ------
    UserInputError
        It cannot be written. The records are not concerned: they are on the disk already.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> UserInputError:
    return UserInputError(
        f"cannot write the report: {error.strerror or error}",
        where=str(path),
        hint="the records are safe; the same command with --resume and another file writes it",
    )


def _task_json(task: TaskState, state: TuningState) -> dict[str, Any]:
    return {
        "workload": task.workload,
        "kernel": task.kernel,
        "calls": task.calls,
        "share": share(task, state),
        "default_seconds": task.default_seconds,
        "best_seconds": task.best_seconds,
        "best_ratio": task.best_ratio,
        "total_default_seconds": task.total_default_seconds,
        "total_tuned_seconds": tuned_total_seconds(task),
        "trials": task.trials,
        "failures": dict(task.failures),
        "history": [list(point) for point in task.history],
        "done": task.done,
    }
