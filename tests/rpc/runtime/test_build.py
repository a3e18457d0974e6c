"""Building the runtime: what CMake is told, what is kept, what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autoglm_tvm.rpc.runtime import build as build_module
from autoglm_tvm.rpc.runtime import cmake as cmake_module
from autoglm_tvm.rpc.runtime.build import (
    BUILD_FILE,
    build_runtime,
    configure_libraries,
    configure_server,
)
from autoglm_tvm.rpc.runtime.cmake import CMake, find_cmake
from autoglm_tvm.rpc.runtime.toolchains import TOOLCHAINS
from autoglm_tvm.targets.errors import MissingToolError, UserInputError

LIBRARIES = ("libtvm_ffi.so", "libtvm_runtime.so", "libtvm_runtime_extra.so")


@pytest.fixture
def compiled(headers: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace compiling by writing empty files; what was compiled is listed."""
    done: list[str] = []

    def build(self: CMake, what: str, build: Path, jobs: int, progress: object) -> None:
        done.append(what)

    def install(self: CMake, build: Path, folder: Path) -> None:
        is_server = done[-1] == "the device server"
        for name in ("autoglm-device-server",) if is_server else LIBRARIES:
            (folder / name).write_text(name)

    monkeypatch.setattr(CMake, "build", build)
    monkeypatch.setattr(CMake, "install", install)
    monkeypatch.setattr(build_module, "find_headers", lambda tvm_source: headers)
    return done


def settings(build: Path) -> dict[str, str]:
    """What CMake remembers."""
    lines = (build / "CMakeCache.txt").read_text().splitlines()
    found = (re.fullmatch(r"(\w+):\w+=(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_the_ndks_toolchain_is_told_what_to_build(ndk: Path, headers: Path, tmp_path: Path) -> None:
    toolchain = TOOLCHAINS["android-arm64"](ndk)
    cmake = find_cmake(tmp_path / "log")
    configure_libraries(cmake, toolchain, headers, tmp_path / "work")
    libraries = tmp_path / "work" / "build"
    configure_server(cmake, toolchain, tmp_path, tmp_path / "server")
    for build in (libraries, tmp_path / "server"):
        told = settings(build)
        assert told["ANDROID_ABI"] == "arm64-v8a"
        assert told["ANDROID_PLATFORM"] == "android-29"
        assert told["ANDROID_STL"] == "c++_shared"
        assert told["CMAKE_BUILD_TYPE"] in ("", "Release")
        links = [x for x in (build / "build.ninja").read_text().splitlines() if "LINK_FLAGS" in x]
        assert links
        assert all("-Wl,-z,max-page-size=16384" in line for line in links)
    ninja = (libraries / "build.ninja").read_text()
    assert all(f"build {name}:" in ninja for name in LIBRARIES)
    for part in ("src/ffi/error.cc", "vm/vm.cc", "rpc/rpc_socket_impl.cc", "random/random.cc"):
        assert f"{part}.o:" in ninja
    assert "TVM_FFI_USE_LIBBACKTRACE=0" in ninja


def test_a_build_for_android_is_whole_and_kept(
    ndk: Path, empty_cache: Path, compiled: list[str], tmp_path: Path
) -> None:
    built = build_runtime("android-arm64", ndk=ndk)
    assert compiled == ["TVM's runtime", "the device server"]
    names = {BUILD_FILE, "autoglm-device-server", "libc++_shared.so", *LIBRARIES}
    assert set(built.files) == {path.name for path in built.folder.iterdir()} == names
    content = json.loads((built.folder / BUILD_FILE).read_text())
    assert content["toolchain"] == {
        "ndk": "27.2.12479018",
        "android_api": "29",
        "cpp_library": "c++_shared",
    }
    assert set(content["files"]) == names - {BUILD_FILE}
    again = build_runtime("android-arm64", ndk=ndk, output=tmp_path / "out")
    assert again.was_cached
    assert not built.was_cached
    assert len(compiled) == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert json.loads(json.dumps(again.to_json()))["folder"] == str(tmp_path / "out")


def test_a_change_of_the_server_keeps_the_libraries(
    empty_cache: Path, compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_runtime("linux-arm64")
    changed = tmp_path / "native"
    changed.mkdir()
    for path in build_module.SERVER_SOURCES.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    (changed / "main.cc").write_text("int main() { return 1; }")
    monkeypatch.setattr(build_module, "SERVER_SOURCES", changed)
    assert build_runtime("linux-arm64").folder != first.folder
    assert compiled == ["TVM's runtime", "the device server", "the device server"]


def test_a_folder_of_something_else_is_not_replaced(
    empty_cache: Path, compiled: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("Dear")
    with pytest.raises(UserInputError, match="BUILD"):
        build_runtime("linux-arm64", output=tmp_path / "mine")
    assert compiled == []


def test_an_unknown_target() -> None:
    with pytest.raises(UserInputError, match="no runtime is built for 'ios'") as caught:
        build_runtime("ios")
    assert caught.value.hint == "choose from: android-arm64, linux-arm64"


def test_tools_that_are_missing(
    empty_cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cmake_module.sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(cmake_module.shutil, "which", lambda name: None)
    with pytest.raises(MissingToolError, match="cmake and ninja is missing") as caught:
        find_cmake(tmp_path / "log")
    assert caught.value.hint.startswith("pip install cmake ninja")
    with pytest.raises(MissingToolError, match=r"aarch64-linux-gnu-g\+\+ is missing"):
        build_runtime("linux-arm64")


def test_a_compiler_that_fails(
    ndk: Path, empty_cache: Path, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def lay_out(headers: Path, folder: Path) -> None:
        extra = "tvm/src/runtime/extra/contrib"
        for name in ("ffi/src/ffi/a.cc", f"{extra}/random/random.cc", f"{extra}/sort/sort.cc"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text("int f() { return missing; }")
        (folder / "tvm/src/runtime/good.cc").write_text("int g() { return 0; }")

    monkeypatch.setattr(build_module, "find_headers", lambda tvm_source: headers)
    monkeypatch.setattr(build_module, "lay_out", lay_out)
    steps: list[tuple[str, int, int]] = []
    with pytest.raises(MissingToolError, match=r"TVM's runtime does not compile: .*error:") as told:
        build_runtime("linux-arm64", jobs=1, progress=lambda *step: steps.append(step))
    log = Path(told.value.where)
    assert log.parent == empty_cache
    assert "error:" in log.read_text()
    assert {(step[0], step[2]) for step in steps} == {("TVM's runtime", 7)}
    assert [path for path in empty_cache.iterdir() if path.is_dir()] == []
    toolchain = ndk / "build/cmake/android.toolchain.cmake"
    toolchain.write_text(toolchain.read_text().replace("aarch64-linux-gnu-g++", "no-such-g++"))
    with pytest.raises(MissingToolError, match="CMake cannot use the compiler"):
        build_runtime("android-arm64", ndk=ndk)
