"""What CMake is told for each kind of device."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.rpc.runtime.ndk import find_ndk
from autoglm_tvm.targets.errors import MissingToolError

# Android 10. The targets compile kernels for it; it is the first version whose loader knows
# thread-local variables (ELF TLS), and it has glob(), which the server calls (API 28).
ANDROID_API = 29
_LINUX_COMPILER = "aarch64-linux-gnu-g++"
_DEBIAN_PACKAGES = "g++-aarch64-linux-gnu libc6-dev-arm64-cross"


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one kind of device.

    Attributes
    ----------
    about
        Facts that the result depends on, for its `BUILD.json`.
    settings
        Options of CMake.
    libraries
        Files that the device lacks and that belong beside the server.
    """

    about: dict[str, str]
    settings: tuple[str, ...]
    libraries: tuple[Path, ...] = ()


def _android(ndk: Path | None) -> Toolchain:
    found = find_ndk(ndk)
    about = {
        "ndk": found.revision,
        "android_api": str(ANDROID_API),
        # Errors are thrown in one library and caught in another. With the static libc++ each would
        # have its own, and none could catch what another one throws.
        "cpp_library": "c++_shared",
    }
    settings = (
        f"-DCMAKE_TOOLCHAIN_FILE={found.toolchain_file}",
        "-DANDROID_ABI=arm64-v8a",
        f"-DANDROID_PLATFORM=android-{ANDROID_API}",
        f"-DANDROID_STL={about['cpp_library']}",
    )
    return Toolchain(about, settings, (found.cpp_library("aarch64-linux-android"),))


def _linux(ndk: Path | None) -> Toolchain:
    del ndk
    compiler = shutil.which(_LINUX_COMPILER)
    if compiler is None:
        raise MissingToolError(
            f"the C++ compiler {_LINUX_COMPILER} is missing",
            hint=f"apt-get install {_DEBIAN_PACKAGES}",
        )
    shown = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    settings = (
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
    )
    return Toolchain({"compiler": shown.stdout.splitlines()[0]}, settings)


# By target. An NDK is only for Android.
TOOLCHAINS: dict[str, Callable[[Path | None], Toolchain]] = {
    "android-arm64": _android,
    "linux-arm64": _linux,
}
