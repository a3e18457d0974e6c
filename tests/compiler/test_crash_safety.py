"""`autoglm-tvm compile` killed, interrupted, or out of disk: the old bundle or the new one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.artifacts.bundle import Bundle, read_bundle
from tests.small_disk import run_on_disk
from tests.tiny_networks import linear_input, write_linear

SHAPE = ("--shape", "x=2,8")
COMPILE = (sys.executable, "-m", "autoglm_tvm.compiler.cli.main", "compile")


def _command(model: Path, goal: Path, threads: int) -> list[str]:
    return [*COMPILE, str(model), "-t", "host", *SHAPE, "-o", str(goal), "--threads", str(threads)]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _run_and_signal(command: list[str], number: int, moment: Callable[[], bool]) -> int:
    """Start a command, send a signal when `moment` says so, and return the exit status."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not moment() and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(number)
            return process.wait(120)
        finally:
            process.kill()


def _after(seconds: float) -> Callable[[], bool]:
    start = time.monotonic()
    return lambda: time.monotonic() - start >= seconds


def _after_the_work_folder_appeared(parent: Path, seconds: float) -> Callable[[], bool]:
    """The package stage writes for a few tenths of a second: that is when a kill could hurt."""
    seen: list[float] = []

    def moment() -> bool:
        if not seen and any(path.name.startswith(".b.new-") for path in parent.iterdir()):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= seconds

    return moment


def _check(bundle: Bundle) -> int:
    """The bundle runs; return the number of threads, by which the tests tell bundles apart."""
    outputs = open_bundle(bundle.directory).run(linear_input())
    assert np.all(np.isfinite(outputs["y"]))
    return int(bundle.manifest.target["threads"])


@pytest.fixture
def folder(linear_bundle: Path, tmp_path: Path) -> Path:
    """A folder with a bundle `b` for 1 thread in it, compiled from `model.onnx`."""
    folder = tmp_path / "work"
    folder.mkdir()
    write_linear(tmp_path / "model.onnx")
    subprocess.run(
        _command(tmp_path / "model.onnx", folder / "b", 1),
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    return folder


@pytest.mark.slow
def test_killed_at_any_moment_of_a_compilation(folder: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    goal, model = folder / "b", tmp_path / "model.onnx"
    start = time.monotonic()
    subprocess.run(_command(model, goal, 1), check=True, timeout=120, stdout=subprocess.DEVNULL)
    whole_run = time.monotonic() - start
    threads, left = 1, 0
    for attempt in range(12):
        if attempt % 3 == 0:
            moment = _after(moments.uniform(0, 1.1) * whole_run)
        else:
            moment = _after_the_work_folder_appeared(folder, moments.uniform(0, 0.1))
        status = _run_and_signal(_command(model, goal, threads + 1), signal.SIGKILL, moment)
        assert status in (-signal.SIGKILL, 0)
        found = _check(read_bundle(goal))
        assert found in ((threads, threads + 1) if status else (threads + 1,))
        threads = found
        left += len(_names(folder)) > 1
    # Some died while they wrote, and the next run removes what they left.
    assert left >= 2
    subprocess.run(_command(model, goal, 50), check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert _names(folder) == ["b"]
    assert _check(read_bundle(goal)) == 50


@pytest.mark.slow
def test_killed_while_it_writes(folder: Path, tmp_path: Path) -> None:
    command = _command(tmp_path / "model.onnx", folder / "b", 2)
    moment = _after_the_work_folder_appeared(folder, 0)
    assert _run_and_signal(command, signal.SIGKILL, moment) == -signal.SIGKILL
    assert len(_names(folder)) == 2
    assert _check(read_bundle(folder / "b")) == 1
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert _names(folder) == ["b"]
    assert _check(read_bundle(folder / "b")) == 2


@pytest.mark.slow
def test_interrupted_while_it_writes(folder: Path, tmp_path: Path) -> None:
    command = _command(tmp_path / "model.onnx", folder / "b", 2)
    moment = _after_the_work_folder_appeared(folder, 0)
    assert _run_and_signal(command, signal.SIGINT, moment) == 130
    assert _names(folder) == ["b"]
    assert _check(read_bundle(folder / "b")) == 1


_ON_A_SMALL_DISK = """
import json, os
from pathlib import Path
from autoglm_tvm.artifacts.bundle import read_bundle
from tests.cli.command_line import run

disk, model = Path(folder), sys.argv[3]

def compile(threads):
    shape = ["--shape", "x=2,8", "--threads", str(threads)]
    return run("compile", model, "-t", "host", "-o", disk / "b", *shape, "--json")

assert compile(1).code == 0
results = []
for left in (0, 4, 8, 12, 16, 20, 60):  # KiB
    (disk / "filler").write_bytes(b"")
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize - left * 1024))
    outcome = compile(2)
    threads = read_bundle(disk / "b").manifest.target["threads"]
    results.append([outcome.code, outcome.stderr, threads, sorted(os.listdir(disk))])
print(json.dumps(results))
"""


@pytest.mark.slow
def test_a_disk_that_fills_up(linear_model: Path, tmp_path: Path) -> None:
    *failed, last = run_on_disk(tmp_path, "size=256k", _ON_A_SMALL_DISK, linear_model)
    for code, stderr, threads, names in failed:
        assert code == 2
        assert stderr.startswith("error: ")
        assert f"{tmp_path / 'b'}: the disk is full; nothing was changed" in stderr
        assert "Traceback" not in stderr
        assert threads == 1
        assert names == ["b", "filler"]
    assert last[0] == 0
    assert last[2:] == [2, ["b", "filler"]]


_TEMPORARY_FILES_ON_A_SMALL_DISK = """
import json, os
from pathlib import Path
from tests.cli.command_line import run

os.environ["TMPDIR"] = folder
outcome = run("compile", sys.argv[3], "-t", "host", "-o", sys.argv[4], "--shape", "x=2,8")
print(json.dumps([outcome.code, outcome.stderr, os.listdir(folder)]))
"""


@pytest.mark.slow
def test_no_room_for_temporary_files(linear_model: Path, tmp_path: Path) -> None:
    small, goal = tmp_path / "small", tmp_path / "b"
    small.mkdir()
    code, stderr, left = run_on_disk(
        small, "size=2m", _TEMPORARY_FILES_ON_A_SMALL_DISK, linear_model, goal
    )
    assert code == 2
    assert stderr.startswith(f"error: {small}: less than 32 MB are free")
    assert "TMPDIR" in stderr
    assert left == []
    assert not goal.exists()
