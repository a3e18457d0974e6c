"""Tables, comparison, the JSON file and the plot say what was measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from benchmarks import plot
from benchmarks.profile_text import profile_text
from benchmarks.record import read_rows, write_record
from benchmarks.report import (
    comparison_text,
    header_line,
    remarks,
    row_line,
    summary,
    summary_text,
)


def make_row(model: str, ratio: float, *, group: str = "end-to-end", **changes: Any) -> Any:
    """A row in which onnxruntime takes 2 ms."""
    spread = {"value": ratio, "low": 0.99 * ratio, "high": 1.01 * ratio}
    row = {
        "model": model,
        "group": group,
        "threads": 1,
        "relative_error": 1e-6,
        "right": True,
        "compile_seconds": 3.21,
        "stage_seconds": {"read": 0.2, "build": 3.01},
        "kernels": 7,
        "kernel_calls": 9,
        "peers_failed": {},
        "milliseconds": {"ours": 2.0 * ratio, "onnxruntime": 2.0},
        "shortest_milliseconds": {"ours": 1.8 * ratio, "onnxruntime": 2.0},
        "other_cores": 0.1,
        "ratio": {"onnxruntime": spread},
    }
    return row | changes


def with_peer(row: Any, peer: str, ratio: float) -> Any:
    """The row, with a peer that takes our time divided by the ratio."""
    row["milliseconds"][peer] = row["milliseconds"]["ours"] / ratio
    row["ratio"][peer] = {"value": ratio, "low": ratio, "high": ratio}
    return row


def test_a_row_has_a_cell_below_every_header() -> None:
    row = with_peer(make_row("resnet18", 1.5), "openvino", 2.0)
    header, line = header_line(["openvino", "mnn"]), row_line(row, ["openvino", "mnn"])
    cells = "resnet18 1 3.000 2.000 1.50 1.48 to 1.52 1.35 0.1 1e-06 7 3.2 1.500 -"
    assert line.split() == cells.split()
    assert len(header) == len(line)


def test_a_wrong_and_a_failed_row_say_so() -> None:
    wrong = make_row("a", 1.0, right=False, relative_error=None)
    assert row_line(wrong, []).endswith("WRONG RESULT")
    assert "infinite" in row_line(wrong, [])
    failed = {"model": "b", "threads": 2, "error": "ValueError: no"}
    assert row_line(failed, []).endswith("FAILED: ValueError: no")


def test_the_summary_counts_right_rows_only() -> None:
    rows = [
        make_row("a", 1.0),
        make_row("b", 4.0),
        make_row("c", 100.0, right=False),
        {"model": "d", "group": "end-to-end", "threads": 1, "error": "no"},
        make_row("e", 0.5, group="matmul"),
    ]
    found = summary(rows)
    assert found["end-to-end, threads 1"]["models"] == 2
    assert found["end-to-end, threads 1"]["geometric_mean"] == pytest.approx(2.0)
    shortest = found["end-to-end, threads 1"]["geometric_mean_of_shortest"]
    assert shortest == pytest.approx(1.8)
    assert found["end-to-end, threads 1"]["worst"] == {"model": "b", "ratio": 4.0}
    assert found["matmul, threads 1"]["geometric_mean"] == pytest.approx(0.5)
    assert "b 4.00" in summary_text(found)


def test_a_peer_is_compared_over_the_models_that_it_runs() -> None:
    rows = [with_peer(make_row("a", 2.0), "mnn", 4.0), make_row("b", 50.0)]
    found = summary(rows)["end-to-end, threads 1"]["peers"]
    assert found["mnn"] == {"peer": pytest.approx(0.5), "ours": 2.0, "models": 1}
    assert summary_text(summary(rows)).splitlines()[-1].split()[-3:] == ["0.50", "(2.00,", "1)"]


def test_changes_are_remarked_on_where_the_quartiles_are_apart() -> None:
    old = [make_row("a", 1.0), make_row("b", 1.0), make_row("c", 1.0), make_row("gone", 1.0)]
    unsteady = {"onnxruntime": {"value": 1.5, "low": 0.9, "high": 2.0}}
    new = [make_row("a", 1.5), make_row("b", 0.5), make_row("c", 1.5) | {"ratio": unsteady}]
    lines = comparison_text(old, new).splitlines()[2:]
    assert [line.split()[-1] for line in lines] == ["slower", "faster", "+50%"]
    assert "none of these models" in comparison_text(old, [make_row("new", 1.0)])


def test_a_peer_that_is_missing_is_explained_once() -> None:
    rows = [make_row(name, 1.0, peers_failed={"ncnn": "no GELU"}) for name in "aab"]
    assert remarks(rows) == ["ncnn: no GELU (a, b)"]


def test_a_busy_machine_is_remarked_on() -> None:
    rows = [make_row("a", 1.0), make_row("b", 1.0, other_cores=0.5)]
    (line,) = remarks(rows)
    assert line.startswith("1 of 2 rows were measured while other programs")


def test_the_file_keeps_other_sections_and_gives_the_rows_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "bench.json"
    rows = [make_row("a", 1.0)]
    write_record(path, rows, {"quick": True})
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(content | {"instructions": [1]}), encoding="utf-8")
    write_record(path, rows, {"quick": True})
    content = json.loads(path.read_text("utf-8"))
    assert content["instructions"] == [1]
    assert content["latency"]["versions"]["onnxruntime"]
    assert content["latency"]["machine"]["cores"] >= 1
    assert str(tmp_path) not in path.read_text("utf-8")
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    ("text", "says"), [("{}", "no section"), ("[]", "no JSON object"), ("x", "no JSON"), (None, "")]
)
def test_another_file_is_no_earlier_run(text: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserInputError, match=says or "cannot read"):
        read_rows(path)


def test_the_profile_shows_rates_schedules_and_both_sides() -> None:
    kernel = {
        "function": "fused_matmul_add",
        "operators": ["matmul", "add"],
        "schedule": "contraction: 8 x 32",
        "calls": 2,
        "microseconds": 100.0,
        "shapes": ["float32[1, 8]"],
        "nbytes": 1_000_000,
        "tensors": ["y"],
        "multiply_adds": 5_000_000,
    }
    node = {"node": "MatMul_0", "operator": "MatMul", "shapes": [], "microseconds": 50.0}
    other = kernel | {"function": "add", "schedule": "elementwise: flat", "microseconds": 25.0}
    profile = {"ours": [kernel, other], "onnxruntime": [node]}
    text = profile_text(make_row("a", 1.0, profile=profile))
    assert "100.0 us 80.0%  fused_matmul_add x2  100.0 GFLOP/s, 10.0 GB/s" in text
    assert "contraction 80.0%, elementwise 20.0%" in text
    assert "contraction: 8 x 32" in text
    assert "compiled in read 0.20 s, build 3.01 s" in text
    assert "50.0 us 100.0%  MatMul  MatMul_0" in text


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason='pip install -e ".[bench]"')
    rows = [with_peer(make_row("a", 2.0), "mnn", 4.0), make_row("b", 0.5, threads=2)]
    plot.write_plot([*rows, {"model": "c", "threads": 1, "error": "no"}], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_matplotlib_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingToolError, match="matplotlib"):
        plot.write_plot([make_row("a", 2.0)], tmp_path / "plot.png")
