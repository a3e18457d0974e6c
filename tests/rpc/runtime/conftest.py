"""Fixtures: what stands in for an NDK, and for TVM's headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.rpc.runtime.headers import HEADERS

# Says that it builds for Android, as the NDK's file does, and uses another compiler.
_TOOLCHAIN = """
set(ANDROID TRUE)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
"""
LIBRARY = "toolchains/llvm/prebuilt/linux-x86_64/sysroot/usr/lib/aarch64-linux-android"


def write_ndk(folder: Path, revision: str = "27.2.12479018") -> Path:
    """Write the files of an NDK that we look at."""
    files = {
        "build/cmake/android.toolchain.cmake": _TOOLCHAIN,
        "source.properties": f"Pkg.Desc = Android NDK\nPkg.Revision = {revision}\n",
        f"{LIBRARY}/libc++_shared.so": "the C++ library",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def no_ndk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has is not used."""
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ndk(tmp_path: Path) -> Path:
    """A stand-in for an NDK."""
    return write_ndk(tmp_path / "ndk")


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    """Empty files under the headers' names: enough to configure, not to compile."""
    for name in HEADERS:
        path = tmp_path / "headers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path / "headers"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
