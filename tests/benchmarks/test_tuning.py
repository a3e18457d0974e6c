"""The benchmark of tuning: its table, its files, and what fails it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import CheckFailedError
from benchmarks import measure_tuned, tuning
from benchmarks.measure_tuned import TUNED, UNTUNED
from benchmarks.models.catalog import choose, model_file
from benchmarks.peers.onnx_runtime import OnnxRuntime
from benchmarks.peers.peer import Task
from benchmarks.record import read_rows, read_section, write_record
from benchmarks.tuning_report import header_line, remarks, row_line, summary, summary_text
from tests.benchmarks.test_report import make_row

TUNING = {
    "trials": 640,
    "failures": {"crash": 3, "build": 1},
    "elapsed_s": 900.0,
    "searching_s": 180.0,
}


def make_tuned(model: str, ratio: float, **changes: Any) -> Any:
    """A row of a model that takes 10 ms untuned and 8 ms in onnxruntime."""

    def spread(value: float) -> dict[str, float]:
        return {"value": value, "low": 0.99 * value, "high": 1.01 * value}

    row = {
        "model": model,
        "group": "end-to-end",
        "threads": 1,
        "milliseconds": {UNTUNED: 10.0, TUNED: 10 * ratio, "onnxruntime": 8.0},
        "shortest_milliseconds": {UNTUNED: 9.0, TUNED: 9 * ratio, "onnxruntime": 7.9},
        "ratio": {UNTUNED: spread(ratio), "onnxruntime": spread(ratio / 0.8)},
        "relative_error": {UNTUNED: 1e-6, TUNED: 2e-6},
        "right": True,
        "other_cores": 0.0,
        "coverage": "",
        "tuning": TUNING,
    }
    return row | changes


def run_main(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any], *arguments: str, tuned: Any = None
) -> int:
    """Run the command; the tuner and the measuring process answer as given, row by row."""
    waiting = list(rows)

    def tune_case(*_: Any) -> Any:
        if isinstance(tuned, Exception):
            raise tuned
        return tuned

    monkeypatch.setattr(tuning, "tune_case", tune_case)
    monkeypatch.setattr(tuning, "ask", lambda *_: waiting.pop(0))
    monkeypatch.setattr(sys, "argv", ["tuning.py", *arguments])
    return tuning.main()


def test_a_row_has_a_cell_below_every_header() -> None:
    line = row_line(make_tuned("resnet18", 0.9))
    cells = "resnet18 1 10.000 9.000 0.900 0.891 to 0.909 8.000 1.12 2e-06 0.0 640 4 15.0 20%"
    assert line.split() == cells.split()
    assert len(header_line()) == len(line)
    assert header_line().startswith("model")


def test_a_row_says_what_is_wrong() -> None:
    wrong = make_tuned("a", 0.9, right=False, relative_error={UNTUNED: 0.0, TUNED: None})
    assert "infinite" in row_line(wrong)
    assert row_line(wrong).endswith("WRONG RESULT")
    failed = {"model": "a", "threads": 2, "error": "no linker"}
    assert row_line(failed).split() == ["a", "2", "FAILED:", "no", "linker"]
    assert row_line(make_tuned("a", 0.9, tuning=None)).split()[-4:] == ["-"] * 4


def test_the_summary_is_the_geometric_mean_of_what_is_right() -> None:
    rows = [
        make_tuned("a", 0.5),
        make_tuned("b", 0.8),
        make_tuned("c", 0.1, right=False),
        {"model": "d", "threads": 1, "error": "no"},
        make_tuned("a", 0.7, threads=2),
    ]
    found = summary(rows)
    assert found["threads 1"]["models"] == 2
    assert found["threads 1"][UNTUNED] == pytest.approx(0.4**0.5)
    assert found["threads 2"]["onnxruntime"] == pytest.approx(0.875)
    assert summary_text(found).splitlines()[-1].split() == ["threads", "2", "1", "0.700", "0.875"]
    assert summary([rows[3]]) == {}
    assert summary_text({}).startswith("geometric means")


def test_slower_models_and_a_busy_machine_are_remarked_on() -> None:
    assert not remarks([make_tuned("a", 0.99), make_tuned("b", 1.005)])
    covered = make_tuned("b", 0.9, other_cores=0.7, coverage="3 of 4 kernels have records")
    found = remarks([make_tuned("a", 1.05), covered])
    assert found.pop(0) == "b, threads 1: 3 of 4 kernels have records"
    assert found[0] == "a, threads 1: SLOWER tuned, 1.050 of the untuned time"
    assert "1 of 2 rows were measured while other programs" in found[1]


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1)])
def test_a_wrong_result_fails_the_command(
    right: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [make_tuned("gemv", 0.9, right=right)]
    arguments = ("--models", "gemv", "--threads", "1")
    assert run_main(monkeypatch, rows, *arguments, tuned=TUNING) == code
    printed = capsys.readouterr().out
    assert ("WRONG RESULT" in printed) is not right
    assert printed.startswith("model")


@pytest.mark.parametrize(
    "error", [CheckFailedError("the device is gone", hint="x"), KeyError("the device is gone")]
)
def test_a_tuning_that_fails_is_a_row_and_the_others_go_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--models", "gemv,softmax", "--threads", "1")
    assert run_main(monkeypatch, [], *arguments, tuned=error) == 1
    printed = capsys.readouterr()
    assert printed.out.count("FAILED: ") == printed.out.count("the device is gone") == 2
    assert ("Traceback" in printed.err) is isinstance(error, KeyError)


def test_the_json_is_a_section_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "bench.json"
    write_record(path, [make_row("a", 1.0)], {})
    rows = [make_tuned("gemv", 0.9), make_tuned("softmax", 0.8)]
    arguments = ("--models", "gemv,softmax", "--threads", "1", "--json", str(path))
    assert run_main(monkeypatch, rows, *arguments, tuned=TUNING) == 0
    written = read_section(path, tuning.SECTION, "benchmarks/tuning.py")
    assert [row["model"] for row in written] == ["gemv", "softmax"]
    assert written[0]["tuning"] == TUNING
    assert json.loads(path.read_text("utf-8"))["tuning"]["summary"]["threads 1"]["models"] == 2
    assert len(read_rows(path)) == 1


def test_the_picture_is_over_the_untuned_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "bench.png"
    rows = [make_tuned("gemv", 0.9)]
    arguments = ("--models", "gemv", "--threads", "1", "--png", str(path))
    assert run_main(monkeypatch, rows, *arguments) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", [False, True])
def test_both_bundles_are_checked_and_timed(wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With onnxruntime in the place of both builds, of which the tuned one may be a little off."""
    (case,) = choose(["softmax"])
    outputs = tuple(spec.name for spec in read(model_file(case)).outputs)
    compiled: list[Any] = []

    class Side(OnnxRuntime):
        def __init__(self, directory: Path, inputs: Any, threads: int) -> None:
            super().__init__(Task(model_file(case), inputs, outputs, threads))
            self.off = 0.1 if wrong and directory.name == TUNED else 0.0

        def outputs(self) -> list[np.ndarray]:
            return [array + self.off for array in super().outputs()]

    monkeypatch.setattr(measure_tuned, "OurSide", Side)

    def compile_case(*arguments: Any) -> Any:
        compiled.append(arguments[2:])
        return SimpleNamespace(tuned=None)

    monkeypatch.setattr(measure_tuned, "compile_case", compile_case)
    row = measure_tuned.measure_tuned(case, {"threads": 1, "quick": True, "records": "/r"})
    assert row["right"] is not wrong
    assert (row["relative_error"][TUNED] > 0.01) is wrong
    assert row["relative_error"][UNTUNED] == 0.0
    assert [(folder.name, records) for folder, records in compiled] == [
        (UNTUNED, None),
        (TUNED, Path("/r")),
    ]
    assert set(row["ratio"]) == {UNTUNED, "onnxruntime"}
    assert min(row["milliseconds"].values()) > 0
