"""The benchmark of a layer with weights of four bits measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "int4_decode.py"


@pytest.mark.slow
def test_it_measures_a_small_layer(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--layer", "phone", "--threads", "1", "--quick"]
    command += ["--groups", "64", "--zero-points", "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    # 4 bits, and for 64 weights a scale of 16 and a zero point of 8.
    assert row["bits"] == pytest.approx(4.375, abs=1e-3)
    assert row["error"] < 1e-5
    assert all(row[name] > 0 for name in ("float_ms", "int4_ms", "onnxruntime_ms", "stream"))
    assert len(done.stdout.splitlines()) == 2
