"""The table of quantization: what it shows, and what it concludes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.targets.errors import UserInputError
from benchmarks import quantization
from benchmarks.quantized.measure_precisions import _is_right
from benchmarks.quantized.subjects import subject_of
from benchmarks.quantized.tables import conclusions, markdown, table_text

Row = dict[str, Any]


def _row(model: str, precision: str, **others: Any) -> Row:
    ratio = {"value": 0.5, "low": 0.45, "high": 0.55}
    row: Row = {
        "model": model,
        "threads": 1,
        "precision": precision,
        "right": True,
        "difference": 1e-3,
        "weights_bytes": 3_500_000,
        "to_fp32": ratio,
        "to_onnxruntime": ratio | {"value": 0.8},
        "arm64": {"instructions": 10, "ratio": 0.4},
        "sqnr_db": 33.3,
        "cosine": 0.99987,
        "top1": 0.975,
        "random_data": False,
        "other_cores": 0.0,
    }
    return row | others


def test_the_table_shows_ratios_sizes_and_accuracy() -> None:
    text = table_text([_row("resnet50", "int8", random_data=True)])
    for cell in ("0.50", "0.45 to 0.55", "0.80", "3.5", "0.40", "33.3 (random)", "97.5%"):
        assert cell in text
    assert "random weights" in text


def test_what_is_refused_says_why() -> None:
    rows = [_row("resnet50", "int4", error="groups of 32 do not divide K = 147\n  -> choose")]
    assert "refused" in table_text(rows)
    assert "resnet50, int4: groups of 32 do not divide K = 147" in table_text(rows)


def test_a_wrong_result_is_marked() -> None:
    text = table_text([_row("resnet50", "int8", right=False, difference=0.3)])
    assert "WRONG" in text
    assert "differs from onnxruntime by 3.0e-01" in text


def test_the_markdown_has_a_line_for_each_row() -> None:
    lines = markdown([_row("resnet50", "int8"), _row("minilm", "int8")]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| resnet50", "| minilm"]
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")


def test_what_is_required_is_judged() -> None:
    models = ("mobilenet_v2", "resnet50", "minilm")
    rows = [_row(model, "int8") for model in models]
    rows += [_row("minilm", "fp32", score=0.8), _row("decoder_decode", "int4")]
    rows[2]["score"] = 0.796
    found = conclusions(rows)
    assert [line.partition(":")[0] for line in found] == [
        *("reached", "reached", "NOT REACHED", "reached", "reached"),
    ]
    assert "mobilenet_v2 2.00, resnet50 2.00, minilm 2.00; geometric mean 2.00" in found[0]
    assert "int4, 1 thread" in found[2]
    assert "minilm 0.0050" in found[4]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("to_fp32", {"value": 0.7, "low": 0.7, "high": 0.7}, 0),
        ("to_onnxruntime", {"value": 3.0, "low": 3.0, "high": 3.0}, 1),
        ("arm64", {"instructions": 1, "ratio": 0.51}, 2),
    ],
)
def test_one_model_that_falls_short_is_not_reached(name: str, value: Any, line: int) -> None:
    rows = [_row("mobilenet_v2", "int8"), _row("resnet50", "int8", **{name: value})]
    assert conclusions(rows)[line].startswith("NOT REACHED")


@pytest.mark.parametrize(
    ("others", "why"),
    [({"right": False}, "wrong"), ({"right": False, "error": "no such node"}, "refused")],
)
def test_what_has_no_right_result_reaches_nothing(others: Row, why: str) -> None:
    rows = [_row("mobilenet_v2", "int8", score=0.9), _row("resnet50", "int8", **others)]
    found = conclusions(rows)
    assert len(found) == 3
    for line in found:
        assert line.startswith("NOT REACHED")
        assert f"resnet50: {why}" in line


def test_counts_that_failed_are_not_reached() -> None:
    rows = [_row("mobilenet_v2", "int8"), _row("resnet50", "int8", arm64={"error": "killed"})]
    assert "resnet50: not measured" in conclusions(rows)[2]
    assert conclusions(rows)[2].startswith("NOT REACHED")


@pytest.mark.parametrize(
    ("ours", "right"),
    [
        ([1.0, 2.0], True),
        ([1.01, 1.99], True),
        ([2.0, 4.0], False),
        ([0.0, 0.0], False),
        ([np.nan, 2.0], False),
    ],
)
def test_what_is_right(ours: list[float], right: bool) -> None:
    theirs = np.array([1.0, 2.0], np.float32)
    assert _is_right("int8", 1.0, [np.array(ours, np.float32)], [theirs]) is right


def test_zeros_are_right_only_for_zeros() -> None:
    zeros = np.zeros(3, np.float32)
    assert _is_right("int8", 0.0, [zeros], [zeros])
    assert not _is_right("int8", 1.0, [zeros + 1], [zeros])


def test_unknown_precisions_are_refused() -> None:
    options = argparse.Namespace(models="mobilenet_v2", precisions="int3", threads="1")
    with pytest.raises(UserInputError, match="int3"):
        quantization.run(options)


@pytest.mark.slow
def test_a_small_model_is_measured_in_all_precisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["quantization.py", "--models", "gemv", "--precisions", "fp16,int4", "--quick"]
    words += [
        "--no-arm64",
        "--json",
        str(tmp_path / "b.json"),
        "--markdown",
        str(tmp_path / "b.md"),
    ]
    monkeypatch.setattr("sys.argv", [*words, "--png", str(tmp_path / "b.png")])
    assert quantization.main() == 0
    text = capsys.readouterr().out
    assert [line.split()[2] for line in text.splitlines()[2:5]] == ["fp32", "fp16", "int4"]
    assert (tmp_path / "b.md").read_text().startswith("| model |")
    assert (tmp_path / "b.png").stat().st_size > 1000


@pytest.mark.slow
def test_real_networks_have_tasks(tmp_path: Path) -> None:
    from benchmarks.models.catalog import choose

    pytest.importorskip("rapidocr")
    (case,) = choose(["ppocr6_rec"])
    subject = subject_of(case, tmp_path)
    assert subject.exercise is not None
    assert subject.calibration != "random"
