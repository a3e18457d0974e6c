"""Loops on their way into llvm-mca, and its answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autoglm_tvm.targets.errors import MissingToolError
from benchmarks.aarch64.disassembly import parse_disassembly
from benchmarks.aarch64.inner_loop import Loop, loops_that_ran, main_loop
from benchmarks.aarch64.machine_code_analysis import (
    CORES,
    analyse,
    assembly,
    find_llvm_mca,
    parse_cycles,
)
from tests.benchmarks.recorded_code import EXECUTIONS, MCA_REPORT, OBJDUMP


@pytest.fixture
def loop() -> Loop:
    found = main_loop(loops_that_ran(parse_disassembly(OBJDUMP), EXECUTIONS))
    assert found is not None
    return found


def test_a_report_is_read() -> None:
    assert parse_cycles(MCA_REPORT) == 803
    with pytest.raises(MissingToolError, match="how many cycles"):
        parse_cycles("nothing")


def test_branches_go_to_labels(loop: Loop) -> None:
    lines = assembly(loop.body).splitlines()
    assert lines[0] == "0:"
    assert lines[-1] == "9:"
    assert lines[5] == "\tcbz\tx12, 9f"
    assert lines[-2] == "\tb.ne\t0b"


def test_the_assembler_takes_a_loop(loop: Loop, tmp_path: Path) -> None:
    command = ["aarch64-linux-gnu-as", "-o", str(tmp_path / "loop.o"), "-"]
    done = subprocess.run(
        command, input=assembly(loop.body), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def _fake_llvm_mca(path: Path, cycles: dict[str, int]) -> str:
    """Write a program that answers as llvm-mca: 803 cycles, or a CPU's for the peak loop."""
    report = path.with_suffix(".txt")
    report.write_text(MCA_REPORT)
    cases = " ".join(f"*mcpu={cpu}' '*) peak={count};;" for cpu, count in cycles.items())
    path.write_text(
        f'#!/bin/sh\ncase "$*" in {cases} '
        "*) echo 'it is not a recognized processor' >&2; exit 0;; esac\n"
        f'[ "$(grep -c fmla)" = 24 ] || peak=803\nsed "s/803/$peak/" {report}\n'
    )
    path.chmod(0o755)
    return str(path)


def test_a_core_with_the_table_of_an_older_one_is_replaced(loop: Loop, tmp_path: Path) -> None:
    cortex_a76 = CORES[0]
    program = _fake_llvm_mca(tmp_path / "old", {"cortex-a76": 2411, "neoverse-n1": 1206})
    old = analyse(program, loop, cortex_a76)
    assert (old.core, old.table, old.cycles) == ("cortex-a76", "neoverse-n1", 8.03)
    assert old.pipe_use == pytest.approx(2 / (8.03 * 2))
    new = _fake_llvm_mca(tmp_path / "new", {"cortex-a76": 1206})
    assert analyse(new, loop, cortex_a76).table == "cortex-a76"


def test_an_llvm_that_is_too_old_is_refused(loop: Loop, tmp_path: Path) -> None:
    program = _fake_llvm_mca(tmp_path / "mca", {"cortex-a76": 2411, "neoverse-n1": 2411})
    with pytest.raises(MissingToolError, match="no table with the 2 multiply-add pipes"):
        analyse(program, loop, CORES[0])
    with pytest.raises(MissingToolError, match="not a recognized processor"):
        analyse(program, loop, CORES[1])


def test_the_newest_llvm_mca_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="llvm-mca is missing") as caught:
        find_llvm_mca()
    assert "apt-get install" in caught.value.hint
    for name in ("llvm-mca", "llvm-mca-9", "llvm-mca-14"):
        _fake_llvm_mca(tmp_path / name, {})
    assert find_llvm_mca() == str(tmp_path / "llvm-mca-14")
