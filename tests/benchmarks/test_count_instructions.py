"""Instructions are counted exactly, and wrong results are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError
from autoglm_tvm.targets.presets import load_presets
from benchmarks.aarch64 import tools as tools_module
from benchmarks.aarch64.count_instructions import Block, Counted, parse_counts, parse_maps
from benchmarks.aarch64.disassembly import executions
from benchmarks.aarch64.hot_code import hot_loops, kernel_counts
from benchmarks.aarch64.inner_loop import main_loop
from benchmarks.aarch64.sides import count_onnxruntime, count_ours, worst_error
from benchmarks.aarch64.tools import Tools, build_tools
from benchmarks.aarch64.trial import CPUS, Trial, prepare
from benchmarks.models.catalog import Case
from benchmarks.models.operators import matmul

MAPS = """\
5500000000-5500010000 r-xp 00000000 08:01 42                     /tmp/run bundle
5500010000-5500020000 rw-p 00010000 08:01 42                     /tmp/run bundle
5501000000-5501002000 r-xp 00001000 08:01 43                     /tmp/libgemv.so
7f00000000-7f00021000 rw-p 00000000 00:00 0                      [stack]
"""
COUNTS = """\
mark 0
mark 100
mark 900
mark 1000
block 5501000e20 8 30
block 5501000e20 8 70
block 7f00000010 5 2
block 5500010010 3 1
"""


def test_counts_are_read_and_placed_in_files() -> None:
    marks, blocks = parse_counts(COUNTS, parse_maps(MAPS))
    assert marks == [0, 100, 900, 1000]
    assert blocks == [
        Block("/tmp/libgemv.so", 0x1E20, 8, 30),
        Block("/tmp/libgemv.so", 0x1E20, 8, 70),
        Block("", 0x7F00000010, 5, 2),
        Block("/tmp/run bundle", 0x10010, 3, 1),
    ]
    assert executions(blocks[:2]) == dict.fromkeys(range(0x1E20, 0x1E40, 4), 100)


def test_an_output_that_differs_is_noticed() -> None:
    expected = {"a": np.ones((2, 2), "float32"), "b": np.arange(3)}
    right = b"".join(array.tobytes() for array in expected.values())
    assert worst_error(Counted(1, (), right), expected) == 0
    wrong = (np.ones((2, 2), "float32") * 1.5).tobytes() + expected["b"].tobytes()
    assert worst_error(Counted(1, (), wrong), expected) == pytest.approx(0.5)
    assert worst_error(Counted(1, (), right[:-1]), expected) is None


def test_every_arm64_phone_has_a_cpu_to_play_it() -> None:
    presets = load_presets().values()
    phones = {each.name for each in presets if (each.arch, each.abi) == ("aarch64", "android")}
    assert set(CPUS) == phones


def test_missing_tools_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match="qemu-aarch64") as caught:
        build_tools()
    assert "apt-get install" in caught.value.hint


def test_a_qemu_without_plugins_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = tmp_path / "qemu"
    monkeypatch.setattr(tools_module, "QEMU", str(qemu))
    for answer in ("version 7.2", "version 10.0 -plugin"):
        qemu.write_text(f"#!/bin/sh\necho {answer}\n")
        qemu.chmod(0o755)
        with pytest.raises(MissingToolError, match="takes no plugins"):
            build_tools()


@pytest.fixture(scope="module")
def tools() -> Tools:
    try:
        return build_tools()
    except MissingToolError as error:
        if "takes no plugins" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("trial")
    path = folder / "matmul.onnx"
    path.write_bytes(matmul(24, 64, 96).SerializeToString())
    return prepare(Case("matmul", "matmul", path=path), "android-arm64-v8.2", folder)


@pytest.mark.slow
def test_a_run_is_counted_the_same_each_time(tools: Tools, trial: Trial) -> None:
    ours = count_ours(tools, trial)
    assert count_ours(tools, trial).instructions == ours.instructions
    total = sum(block.instructions * block.executions for block in ours.blocks)
    assert ours.instructions == total
    assert trial.floor < ours.instructions < 100 * trial.floor
    error = worst_error(ours, trial.expected)
    assert error is not None
    assert error < 1e-5


@pytest.mark.slow
def test_kernels_and_loops_of_a_run(tools: Tools, trial: Trial) -> None:
    ours = count_ours(tools, trial, kernels=True)
    kernels = kernel_counts(ours, trial)
    listed = {entry.function: entry.schedule for entry in trial.bundle.manifest.kernels}
    assert {each.name: each.schedule for each in kernels} == listed
    assert sum(each.instructions for each in kernels) < ours.instructions
    assert "(24,96)" in kernels[0].shapes
    assert kernels[0].floor == trial.floor == 24 * 64 * 96 // 4
    loop = main_loop(hot_loops(ours))
    assert loop is not None
    assert loop.executed_multiply_adds > 24 * 64 * 96 / 2


@pytest.mark.slow
def test_onnxruntime_is_counted_and_checked(tools: Tools, trial: Trial) -> None:
    theirs = count_onnxruntime(tools, trial)
    assert trial.floor < theirs.instructions < 100 * trial.floor
    other = Trial(**{**vars(trial), "expected": {"y": np.zeros((24, 96), "float32")}})
    with pytest.raises(CheckFailedError, match="other numbers"):
        count_onnxruntime(tools, other)


@pytest.mark.slow
def test_a_failing_program_is_named_with_what_it_said(tools: Tools, trial: Trial) -> None:
    missing = Trial(**{**vars(trial), "model": Path("/nonexistent.onnx")})
    with pytest.raises(CheckFailedError, match=r"status 1 under .*cortex-a76.*nonexistent"):
        count_onnxruntime(tools, missing)
