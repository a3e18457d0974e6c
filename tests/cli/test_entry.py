"""The command line as a process: its entries, exit codes, tracebacks and interruption."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tests.cli.command_line import MODULE, assert_one_message, run, run_process, succeeds

COMMANDS = ("compile", "run", "verify", "inspect", "explain", "targets", "doctor")


def test_the_installed_program_is_the_module() -> None:
    program = Path(sysconfig.get_path("scripts")) / "autoglm-tvm"
    if not program.is_file():
        found = shutil.which("autoglm-tvm")
        assert found, "autoglm-tvm is not installed: pip install -e ."
        program = Path(found)
    done = subprocess.run(
        [program, "targets", "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout == run_process("targets", "--json").stdout


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    text = succeeds("--help").stdout
    for part in (*COMMANDS, "Exit codes"):
        assert part in text
    assert succeeds().stdout == text
    for command in COMMANDS:
        assert "Usage: autoglm-tvm" in succeeds(command, "--help").stdout


def test_an_unknown_command_or_option() -> None:
    for arguments in (["frobnicate"], ["--frobnicate"], ["compile"], ["targets", "more"]):
        outcome = run(*arguments)
        assert_one_message(outcome, 2, "--help")
        assert run(*arguments, "--json").json["exit_code"] == 2


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(place: str, tmp_path: Path) -> None:
    arguments = ["inspect", str(tmp_path / "none.onnx"), "--json"]
    with_debug = ["--debug", *arguments] if place == "before" else [*arguments, "--debug"]
    outcome = run_process(*with_debug)
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.stderr
    assert outcome.stderr.count("\nerror: ") == 1
    plain = run_process(*arguments)
    assert_one_message(plain, 2, "none.onnx")
    assert plain.json == outcome.json


def test_an_unexpected_exception_is_called_a_defect(
    linear_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("autoglm_tvm.compiler.inspect.read", broken)
    outcome = run("inspect", linear_model, "--json")
    assert outcome.code == 70
    assert "defect of autoglm-tvm" in outcome.stderr
    assert "RuntimeError: first line" in outcome.stderr
    assert "second line" not in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "--debug" in outcome.json["error"]["hint"]
    assert "Traceback" in run("inspect", linear_model, "--debug").stderr


def test_standard_output_that_is_full(linear_model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", MODULE, "targets", "--json"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode in (2, 120)
    assert "No space left on device" in done.stderr
    assert "defect" not in done.stderr


def test_a_reader_that_closes_its_end_early() -> None:
    command = [sys.executable, "-m", MODULE, "targets", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        stderr = process.stderr.read()
    assert b"Traceback" not in stderr
    assert b"defect" not in stderr


def test_another_tvm_on_the_path_is_refused(linear_model: Path, tmp_path: Path) -> None:
    info = tmp_path / "packages/apache_tvm-0.26.0.dist-info"
    info.mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: apache-tvm\nVersion: 0.26.0\n"
    (info / "METADATA").write_text(metadata, "utf-8")
    environment = os.environ | {"PYTHONPATH": str(info.parent)}
    arguments = ("compile", linear_model, "-o", tmp_path / "b")
    outcome = run_process(*arguments, env=environment)
    assert_one_message(outcome, 3, "apache-tvm 0.26.0 (need 0.27.0.post1)")
    assert "pip install" in outcome.stderr
    assert not (tmp_path / "b").exists()


def test_interrupted_it_leaves_nothing(linear_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", MODULE, "compile", linear_model, "-o", tmp_path / "out/b"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            # The folder appears when the package stage begins; the linker runs then.
            while not (tmp_path / "out").is_dir():
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted; nothing was left half-written" in stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_the_version() -> None:
    assert succeeds("--version").stdout == f"autoglm-tvm {metadata.version('autoglm-tvm')}\n"


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.4, 0.8, 1.2, 1.6, 2.0, 2.5])
def test_interrupted_at_any_moment(
    moment: float, real_model: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """TVM makes other errors of a KeyboardInterrupt, or none: the user must not see that."""
    model = real_model("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")
    command = [sys.executable, "-m", MODULE, "compile", model, "-o", tmp_path / "out/b"]
    command += ["--shape", "x=1,3,48,192"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    # At the very end the bundle may be whole before the signal is seen.
    assert process.returncode in (130, -signal.SIGINT)
    assert "defect" not in stderr
    assert "TVM cannot" not in stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
