"""The record of a run, the tables made of it, and the comparison with an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autoglm_tvm.targets.errors import UserInputError
from benchmarks.aarch64.record import read_counts, summary, write_record
from benchmarks.aarch64.tables import analyses_text, comparison_text, counts_text


def _row(model: str, ours: int, *, target: str = "android-arm64", right: bool = True) -> Any:
    return {
        **{"model": model, "group": "matmul", "target": target, "floor": 100, "right": right},
        **{"ours": ours, "onnxruntime": 200, "ratio": ours / 200},
        "relative_error": 1e-6 if right else 0.5,
    }


FAILED = {"model": "big", "target": "android-arm64", "error": "it does not compile"}
ROWS = [_row("small", 100), _row("wide", 400), _row("bad", 10, right=False), FAILED]


def test_a_table_has_means_errors_and_what_is_wrong() -> None:
    lines = counts_text(ROWS).splitlines()
    assert lines[2].split() == ["small", "android-arm64", "0.000", "0.000", "0.50", "0.000", "1.00"]
    assert "WRONG by 0.5" in lines[4]
    assert "failed" in lines[5]
    assert lines[6].split()[:5] == ["geometric", "mean", "of", "2", "android-arm64"]
    assert lines[6].split()[-1] == "1.00"
    assert lines[-1] == "big for android-arm64: it does not compile"


def test_a_summary_leaves_out_what_is_wrong() -> None:
    found = summary(ROWS)["android-arm64"]["matmul"]
    assert found["models"] == 2
    assert found["geometric_mean"] == pytest.approx(1)
    assert found["worst"] == {"model": "wide", "ratio": 2.0}


def test_other_sections_of_the_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    write_record(path, ROWS[:1], [], {"qemu": "7.2"})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latency": {"rows": [1]}}))
    write_record(path, ROWS, [{"model": "wide"}], {"qemu": "7.2"})
    content = json.loads(path.read_text())
    assert content["latency"] == {"rows": [1]}
    assert content["mca"]["rows"] == [{"model": "wide"}]
    assert content["instructions"]["versions"]["qemu"] == "7.2"
    assert read_counts(path) == ROWS


def test_a_file_without_counts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text('{"latency": {}}')
    with pytest.raises(UserInputError, match="no section 'instructions'"):
        read_counts(path)


def test_a_change_against_an_earlier_run_is_shown() -> None:
    old = [_row("small", 100), _row("wide", 500), _row("gone", 1)]
    lines = comparison_text(old, ROWS).splitlines()
    assert len(lines) == 3
    assert lines[2].split()[0] == "wide"
    assert lines[2].endswith("-20.00%")
    assert "has changed" in comparison_text(ROWS, ROWS)


def test_an_analysis_without_multiply_adds_has_no_loads_for_each() -> None:
    row = {
        **{"model": "copy", "target": "android-arm64", "side": "ours", "core": "cortex-a76"},
        **{"table": "neoverse-n1", "pipe_use": 0.0, "cycles": 2.04, "share": 0.5, "spills": 1},
        **{"multiply_add_instructions": 0, "loads_per_multiply_add": None, "instructions": 4},
    }
    line = analyses_text([row]).splitlines()[-1].split()
    assert line[3:] == ["cortex-a76", "(neoverse-n1)", "0%", "2.0", "0", "-", "1", "4", "50%"]
