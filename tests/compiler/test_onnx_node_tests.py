"""The node tests of the onnx package: none wrong, none crashing, and how many are right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "onnx_node_tests.py"
# Measured: 1139 of onnx 1.23.2 with onnxruntime 1.31. With onnxruntime 1.23, the newest for Python
# 3.10, which cannot fold the newest operator sets, it was about 20 less.
RIGHT = 1100


@pytest.mark.slow
def test_no_node_is_silently_wrong(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, BENCHMARK, "--json", report]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = [entry["outcome"] for entry in json.loads(report.read_text("utf-8")).values()]
    assert len(outcomes) > 1300
    assert outcomes.count("WRONG") == 0, done.stdout
    assert outcomes.count("crash") == 0, done.stdout
    assert outcomes.count("right") >= RIGHT, done.stdout
