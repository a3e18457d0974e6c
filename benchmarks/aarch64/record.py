"""The sections of the JSON file: what was counted and analysed; later runs compare with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.aarch64.tools import ONNXRUNTIME_VERSION
from benchmarks.record import read_section, write_sections
from benchmarks.report import geometric_mean

Row = dict[str, Any]
#: Names of the sections; the latency benchmark writes another one to the same file.
INSTRUCTIONS, ANALYSES = "instructions", "mca"


def write_record(
    path: Path, counts: Sequence[Row], analyses: Sequence[Row], versions: dict[str, str]
) -> None:
    """Write rows to their sections of a JSON file; its other sections stay as they are.

    Raises
    ------
    UserInputError
        The file cannot be written, or is there and is something else.
    """
    instructions = {
        "versions": {"onnxruntime": ONNXRUNTIME_VERSION, **versions},
        "summary": summary(counts),
        "rows": list(counts),
    }
    cycles = {"versions": versions, "rows": list(analyses)}
    write_sections(path, {INSTRUCTIONS: instructions, ANALYSES: cycles})


def read_counts(path: Path) -> list[Row]:
    """Return the rows of instructions of an earlier run; `UserInputError` where it has none."""
    return read_section(path, INSTRUCTIONS, "benchmarks/arm64.py")


def summary(counts: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return for each target and group the geometric mean of the ratios, and the worst model."""
    right = [row for row in counts if row.get("right")]
    found: dict[str, dict[str, Any]] = {}
    for target in dict.fromkeys(row["target"] for row in right):
        for group in dict.fromkeys(row["group"] for row in right if row["target"] == target):
            rows = [row for row in right if (row["target"], row["group"]) == (target, group)]
            worst = max(rows, key=lambda row: row["ratio"])
            found.setdefault(target, {})[group] = {
                "models": len(rows),
                "geometric_mean": geometric_mean([row["ratio"] for row in rows]),
                "worst": {"model": worst["model"], "ratio": worst["ratio"]},
            }
    return found
