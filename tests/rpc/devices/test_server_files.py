"""What is copied to a phone, and servers that it could not start."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from autoglm_tvm.rpc.device_build import EXECUTABLE
from autoglm_tvm.rpc.devices import server_files as module
from autoglm_tvm.rpc.devices.server_files import server_files
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.versions import PINNED_VERSIONS

CC = "aarch64-linux-gnu-gcc"


@pytest.fixture
def android_server(tmp_path: Path) -> Path:
    """A folder as `runtime build` leaves it, with a program that asks for Android's loader."""
    folder = tmp_path / "server"
    folder.mkdir()
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    loader = "-Wl,--dynamic-linker=/system/bin/linker64"
    subprocess.run(
        [CC, str(tmp_path / "main.c"), loader, "-o", str(folder / EXECUTABLE)],
        check=True,
        timeout=60,
    )
    shutil.copy(folder / EXECUTABLE, folder / "libtvm_runtime.so")
    (folder / "BUILD.json").write_text(json.dumps({"versions": PINNED_VERSIONS}))
    return folder


def test_the_glibc_server_has_all_that_it_needs() -> None:
    files = server_files("glibc", "aarch64")
    names = {path.name for path in files.files}
    assert names >= {EXECUTABLE, "libtvm_runtime.so", "libtvm_ffi.so", "ld-linux-aarch64.so.1"}
    assert names >= {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"}
    # By these names Android's libraries ask for it.
    assert names >= {"libc.so", "libm.so"}
    assert len(names) == len(files.files)


def test_the_android_server_needs_nothing_else(android_server: Path) -> None:
    files = server_files("android", "aarch64", android_server)
    assert {path.name for path in files.files} == {EXECUTABLE, "libtvm_runtime.so"}
    assert "ld-linux" not in files.command


def test_a_server_for_the_other_c_library(android_server: Path) -> None:
    with pytest.raises(UserInputError, match="android's C library, not glibc's") as caught:
        server_files("glibc", "aarch64", android_server)
    assert caught.value.hint == "use --libc android"


def test_a_server_for_another_machine(server_folder: Path) -> None:
    with pytest.raises(UserInputError, match="for x86_64, and the phone is aarch64"):
        server_files("glibc", "aarch64", server_folder)


def test_a_server_of_another_tvm(android_server: Path) -> None:
    (android_server / "BUILD.json").write_text('{"versions": {"apache-tvm": "0.1"}}')
    with pytest.raises(UserInputError, match=r"another TVM \(.*0\.1"):
        server_files("android", "aarch64", android_server)


def test_a_folder_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=f"no {EXECUTABLE} in this folder"):
        server_files("glibc", "aarch64", tmp_path)
    (tmp_path / EXECUTABLE).write_text("#!/bin/sh\n")
    with pytest.raises(UserInputError, match="no ELF file"):
        server_files("glibc", "aarch64", tmp_path)


def test_no_server_for_android_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path))
    with pytest.raises(MissingToolError, match="no device server for Android") as caught:
        server_files("android", "aarch64")
    assert "autoglm-tvm runtime build --target android-arm64" in caught.value.hint


def test_the_server_that_was_built_is_found(
    android_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path / "cache"))
    built = shutil.copytree(android_server, tmp_path / "cache/runtime-android-arm64-0123")
    assert server_files("android", "aarch64").files[0].parent == built


def test_the_cross_compilers_libraries_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYSROOT", Path("/nonexistent"))
    with pytest.raises(MissingToolError, match="C library for arm64 Linux is missing") as caught:
        server_files("glibc", "aarch64")
    assert caught.value.hint == f"apt-get install {module.DEBIAN_PACKAGES}"


def test_unknown_c_library_and_machine() -> None:
    with pytest.raises(UserInputError, match="no C library 'musl'"):
        server_files("musl", "aarch64")
    with pytest.raises(MissingToolError, match="the phone is x86_64"):
        server_files("glibc", "x86_64")
