"""The command that counts arm64 instructions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "arm64.py"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--targets", "linux-arm64"], "target 'linux-arm64' is not counted"),
        (["--models", "nothing"], "'nothing'"),
        (["--models", "gemv", "--no-mca", "--compare", "/nonexistent.json"], "cannot read"),
    ],
)
def test_a_usage_error_is_one_message(arguments: list[str], message: str) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_is_counted_recorded_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    chosen = ["--models", "softmax", "--targets", "android-arm64-v8.2", "--no-mca"]
    done = _run(*chosen, "--json", path)
    if "takes no plugins" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(path.read_text())["instructions"]["rows"]
    assert row["right"]
    assert row["ratio"] == row["ours"] / row["onnxruntime"]
    assert "android-arm64-v8.2" in done.stdout

    again = _run(*chosen, "--compare", path)
    assert again.returncode == 0, again.stderr
    assert "no count that the earlier run has, too, has changed" in again.stdout
