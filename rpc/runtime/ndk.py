"""Find Android's NDK: its C++ compiler is the only one that knows Android's C library."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.linkers import NDK_VARIABLE

TOOLCHAIN_FILE = "build/cmake/android.toolchain.cmake"
_VARIABLES = (NDK_VARIABLE, "ANDROID_NDK_ROOT")
_SDK_VARIABLE = "ANDROID_HOME"
# The first whose libc++_shared.so is aligned for pages of 16 KB.
OLDEST_RELEASE = 27
_HOW_TO_GET = (
    "get the NDK, r27 or newer, from developer.android.com/ndk/downloads (or: sdkmanager --install "
    f"'ndk;27.2.12479018'), and name its folder with --ndk or {NDK_VARIABLE}"
)


@dataclass(frozen=True)
class Ndk:
    """An installed NDK.

    Attributes
    ----------
    revision
        As in its ``source.properties``: release, minor, build.
    """

    folder: Path
    revision: str

    @property
    def toolchain_file(self) -> Path:
        """What CMake needs to build for Android."""
        return self.folder / TOOLCHAIN_FILE

    def cpp_library(self, triple: str) -> Path:
        """Return libc++_shared.so for a triple such as ``aarch64-linux-android``."""
        pattern = f"toolchains/llvm/prebuilt/*/sysroot/usr/lib/{triple}/libc++_shared.so"
        for path in sorted(self.folder.glob(pattern)):
            return path
        raise MissingToolError(
            "this NDK has no libc++_shared.so", where=f"{self.folder}/{pattern}", hint=_HOW_TO_GET
        )


def find_ndk(chosen: Path | None = None) -> Ndk:
    """Return the NDK that the user names, in an option or the environment, or the SDK's newest one.

    Raises
    ------
    UserInputError
        What is named is no NDK, or one that is too old.
    MissingToolError
        There is none.
    """
    named = [("--ndk", chosen)] if chosen is not None else []
    named += [(name, Path(os.environ[name])) for name in _VARIABLES if os.environ.get(name)]
    if named:
        name, folder = named[0]
        return _check(folder, f"{name}={folder}")
    newest = _newest_of_sdk()
    if newest is None:
        places = ", ".join(["--ndk", *_VARIABLES, f"{_SDK_VARIABLE}/ndk"])
        raise MissingToolError(f"no Android NDK was found ({places})", hint=_HOW_TO_GET)
    return _check(newest, str(newest))


def _newest_of_sdk() -> Path | None:
    sdk = os.environ.get(_SDK_VARIABLE)
    if not sdk:
        return None
    found = [path for path in Path(sdk, "ndk").glob("*") if (path / TOOLCHAIN_FILE).is_file()]
    return max(found, key=lambda path: _numbers(path.name), default=None)


def _numbers(revision: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", revision)]


def _check(folder: Path, where: str) -> Ndk:
    if not (folder / TOOLCHAIN_FILE).is_file():
        raise UserInputError(
            f"this is no NDK: it has no {TOOLCHAIN_FILE}", where=where, hint=_HOW_TO_GET
        )
    properties = folder / "source.properties"
    text = properties.read_text() if properties.is_file() else ""
    revision = re.search(r"^Pkg\.Revision\s*=\s*([0-9.]+)", text, re.MULTILINE)
    if revision is None:
        raise UserInputError(
            "it does not tell its version", where=str(properties), hint=_HOW_TO_GET
        )
    if _numbers(revision[1])[0] < OLDEST_RELEASE:
        raise UserInputError(
            f"this NDK is r{_numbers(revision[1])[0]}, and phones with pages of 16 KB need "
            f"r{OLDEST_RELEASE} or newer",
            where=where,
            hint=_HOW_TO_GET,
        )
    return Ndk(folder.resolve(), revision[1])
