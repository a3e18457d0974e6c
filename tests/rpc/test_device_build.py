"""Building the device server: what is missing is named, and what is there is not built again."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autoglm_tvm.rpc import device_build, runtime_libraries
from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.rpc.device_build import EXECUTABLE, SOURCES, build_device_server
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.errors import MissingToolError, UserInputError


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folders(cache: Path) -> list[Path]:
    """Return what is in the cache, without the lock files, which stay."""
    return [path for path in cache.iterdir() if path.is_dir()]


def test_a_missing_compiler_is_named_with_its_package(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(device_build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="aarch64-linux-gnu-g\\+\\+ is missing") as caught:
        build_device_server("linux-arm64")
    assert caught.value.hint.startswith("apt-get install g++-aarch64-linux-gnu")
    assert "pip install ziglang" in caught.value.hint


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_zig_takes_the_place_of_a_compiler_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It brings another C++ library: errors must not cross as exceptions."""
    pytest.importorskip("ziglang")
    entry = replace(device_build.PLATFORMS["host"], compiler="no-such-g++")
    monkeypatch.setitem(device_build.PLATFORMS, "host", entry)
    with (
        DeviceProcess(build_device_server("host"), "zig") as device,
        connect(device.tracker, device.key) as session,
    ):
        for wrong in ("a/b", "absent.so"):
            with pytest.raises(MissingToolError, match=wrong), session.calls("loading"):
                session.remote.load_module(wrong)
        with pytest.raises(MissingToolError, match="no group"), session.calls("reading"):
            session.remote.get_function("autoglm.device.read")("etc")
        with session.calls("uploading"):
            session.remote.upload(bytearray(b"x"), "x")


def test_the_command_prints_the_folder_or_one_message() -> None:
    command = [sys.executable, "-m", "autoglm_tvm.rpc.device_build", "--platform"]
    done = subprocess.run([*command, "host"], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip(), EXECUTABLE).is_file()
    environment = {**os.environ, "AUTOGLM_TVM_CACHE": "/dev/null/cache"}
    done = subprocess.run(
        [*command, "linux-arm64"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == UserInputError.exit_code
    assert re.fullmatch(r"error: .*cannot write to the cache: .*\n  -> set .*\n", done.stderr)
    assert done.stdout == ""


def test_an_unknown_platform_is_the_users_mistake() -> None:
    with pytest.raises(UserInputError, match="'windows'"):
        build_device_server("windows")


def test_wheels_that_cannot_be_had(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty_cache))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(MissingToolError, match="cannot download apache-tvm=="):
        runtime_libraries.arm64_libraries()
    assert folders(empty_cache) == []


def test_it_is_built_once_and_again_when_the_sources_change(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []

    def build(compiler: list[str], libraries: list[Path], folder: Path) -> None:
        built.append(folder)

    monkeypatch.setattr(device_build, "_build", build)
    first = build_device_server("host")
    assert build_device_server("host") == first
    assert len(built) == 1
    sources = tmp_path / "native"
    sources.mkdir()
    (sources / "main.cc").write_text("int main() {}")
    monkeypatch.setattr(device_build, "SOURCES", sources)
    assert build_device_server("host") != first
    assert len(built) == 2


def _make_slowly(folder: Path) -> None:
    with (folder.parent.parent / "count").open("a") as count:
        count.write("x")
    (folder / "whole").write_text("whole")


def _use(_: int) -> str:
    return (cached_folder("thing", _make_slowly) / "whole").read_text()


def test_many_processes_make_a_cached_folder_once(empty_cache: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_use, range(8)) == ["whole"] * 8
    assert (empty_cache.parent / "count").read_text() == "x"


def test_a_failed_build_leaves_nothing(empty_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise MissingToolError("no")

    with pytest.raises(MissingToolError):
        cached_folder("thing", fail)
    assert folders(empty_cache) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserInputError, match="cannot write to the cache"):
        cached_folder("thing", lambda folder: None)


@pytest.mark.slow
def test_the_sources_compile_without_a_warning() -> None:
    command = [
        *["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wshadow", "-Werror"],
        *[f"-isystem{path}" for path in runtime_libraries.include_folders()],
        *sorted(str(path) for path in SOURCES.glob("*.cc")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
