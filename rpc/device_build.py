"""Build the native device server (``rpc/native``) for Linux arm64 or for this machine.

``python -m autoglm_tvm.rpc.device_build`` does it and prints the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import platform as platform_module
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.rpc.runtime_libraries import (
    arm64_libraries,
    host_libraries,
    include_folders,
)
from autoglm_tvm.targets.errors import AutoglmError, MissingToolError, UserInputError
from autoglm_tvm.targets.versions import PINNED_VERSIONS

SOURCES = Path(__file__).resolve().parent / "native"
EXECUTABLE = "autoglm-device-server"
_FLAGS = (
    *("-std=c++17", "-O2", "-Wall", "-Wextra", "-pthread"),
    # What the server and TVM's libraries both define must not be mixed up: they may have different
    # C++ libraries (native/ffi_boundary.h). tvm-ffi's own word would make some of it visible.
    *("-fvisibility=hidden", "-DTVM_FFI_DLL=", "-DTVM_FFI_DLL_EXPORT="),
)
_COMPILE_TIMEOUT_S = 1200
# The C library that TVM's wheels ask for.
_OLDEST_GLIBC = "gnu.2.28"


@dataclass(frozen=True)
class ServerPlatform:
    """A kind of machine that the server is built for.

    Attributes
    ----------
    compiler, debian_packages
        GCC for it, and what brings it.
    machine
        The architecture, as Zig's compiler knows it: it takes the place of a GCC that is missing.
    libraries
        Returns TVM's runtime libraries.
    """

    compiler: str
    debian_packages: str
    machine: str
    libraries: Callable[[], list[Path]]

    def find_compiler(self) -> list[str]:
        """Return the command that compiles C++ for it.

        Raises
        ------
        MissingToolError
            There is none.
        """
        if gcc := shutil.which(self.compiler):
            return [gcc]
        if importlib.util.find_spec("ziglang") is not None:
            triple = f"{self.machine}-linux-{_OLDEST_GLIBC}"
            return [sys.executable, "-m", "ziglang", "c++", "-target", triple]
        raise MissingToolError(
            f"the C++ compiler {self.compiler} is missing",
            hint=f"apt-get install {self.debian_packages}  (or: pip install ziglang)",
        )


PLATFORMS = {
    "linux-arm64": ServerPlatform(
        "aarch64-linux-gnu-g++",
        "g++-aarch64-linux-gnu libc6-dev-arm64-cross",
        "aarch64",
        arm64_libraries,
    ),
    "host": ServerPlatform("g++", "g++", platform_module.machine(), host_libraries),
}


def build_device_server(platform: str = "linux-arm64") -> Path:
    """Return a folder with the server and the runtime libraries it needs, built once and cached.

    The folder can be copied to a device as it is: the server looks for libraries beside itself.

    Parameters
    ----------
    platform
        ``linux-arm64`` or ``host``.

    Raises
    ------
    UserInputError
        There is no such platform.
    MissingToolError
        The compiler is missing or fails, or the runtime cannot be downloaded.
    """
    if platform not in PLATFORMS:
        raise UserInputError(
            f"no device server for {platform!r}", hint=f"choose from: {', '.join(PLATFORMS)}"
        )
    entry = PLATFORMS[platform]
    compiler = entry.find_compiler()
    name = f"device-server-{platform}-{_content_hash(compiler)}"
    return cached_folder(name, lambda folder: _build(compiler, entry.libraries(), folder))


def _content_hash(compiler: Sequence[str]) -> str:
    """Return a hash of all that the server is made from."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.h")) + sorted(SOURCES.glob("*.cc")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    shown = _run([*compiler, "--version"])
    digest.update(repr((_FLAGS, shown.stdout, sorted(PINNED_VERSIONS.items()))).encode())
    return digest.hexdigest()[:16]


def _build(compiler: Sequence[str], libraries: list[Path], folder: Path) -> None:
    for library in libraries:
        shutil.copy(library, folder / library.name)
    command = [
        *[*compiler, *_FLAGS],
        *[f"-isystem{path}" for path in include_folders()],
        *sorted(str(path) for path in SOURCES.glob("*.cc")),
        *["-o", str(folder / EXECUTABLE), f"-L{folder}", "-Wl,-rpath,$ORIGIN"],
        # One of them is only reached by name, at run time.
        *["-Wl,--no-as-needed", *(f"-l:{library.name}" for library in libraries), "-ldl"],
    ]
    done = _run(command)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise MissingToolError(
            f"the device server does not compile: {errors[0]}",
            where=str(SOURCES),
            hint=f"see that this compiler works, or install it again: {' '.join(compiler)}",
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_COMPILE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MissingToolError(
            f"{command[0]} took over {_COMPILE_TIMEOUT_S} s", hint="see what keeps the machine busy"
        ) from None


def main() -> None:
    """Build the server and print the folder that it lies in."""
    parser = argparse.ArgumentParser(
        prog="python -m autoglm_tvm.rpc.device_build",
        description="Build the device server and print the folder to copy to the device.",
    )
    parser.add_argument("--platform", default="linux-arm64", help=" or ".join(PLATFORMS))
    options = parser.parse_args()
    try:
        print(build_device_server(options.platform))
    except AutoglmError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
