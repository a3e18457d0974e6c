"""Measure one model untuned, tuned and in onnxruntime, in a process of its own.

    python benchmarks/measure_tuned.py REQUEST.json ANSWER.json

Called by `tuning.py`.
"""

from __future__ import annotations

import sys
import tempfile
from math import isfinite
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bundles import compile_case
from benchmarks.measure import TOLERANCE, latencies, task_of, worst_error
from benchmarks.models.catalog import Case
from benchmarks.ours import OurSide
from benchmarks.own_process import answer
from benchmarks.peers.installed import PEERS, YARDSTICK

UNTUNED, TUNED = "untuned", "tuned"
Row = dict[str, Any]


def main() -> int:
    """Answer a request: model, threads, quick, records (a folder)."""
    return answer(measure_tuned)


def measure_tuned(case: Case, wanted: dict[str, Any]) -> Row:
    """Compile a model with and without records, check and time both; return a row."""
    threads = wanted["threads"]
    _, task = task_of(case, threads)
    yardstick = PEERS[YARDSTICK].load(task)
    expected = yardstick.outputs()
    records = {UNTUNED: None, TUNED: Path(wanted["records"])}
    with tempfile.TemporaryDirectory() as folder:
        ours: dict[str, OurSide] = {}
        coverage = None
        for name, from_where in records.items():
            coverage = compile_case(case, threads, Path(folder) / name, from_where).tuned
            ours[name] = OurSide(Path(folder) / name, task.inputs, threads)
        errors = {name: worst_error(side.outputs(), expected) for name, side in ours.items()}
        sides = {**{name: side.run for name, side in ours.items()}, YARDSTICK: yardstick.run}
        row = latencies(sides, TUNED, wanted["quick"])
    return row | {
        "relative_error": {
            name: error if isfinite(error) else None for name, error in errors.items()
        },
        "right": max(errors.values()) <= TOLERANCE,
        "coverage": coverage.summary() if coverage else "",
    }


if __name__ == "__main__":
    sys.exit(main())
