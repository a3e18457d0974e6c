"""The files that a phone needs to serve, by the C library that the server was built with.

``android``: a server built with the NDK. ``glibc``: the server for arm64 Linux with a C library and
loader of its own, which Linux's kernel runs on a phone as anywhere; it needs no NDK.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.rpc.cache import cache_root
from autoglm_tvm.rpc.device_build import EXECUTABLE, build_device_server
from autoglm_tvm.rpc.devices.server_elf import check_server, is_elf, needed_libraries
from autoglm_tvm.rpc.emulation.emulated_phone import SYSROOT, android_libc_shims
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.versions import PINNED_VERSIONS

LIBCS = ("android", "glibc")
LOADER = "ld-linux-aarch64.so.1"
DEBIAN_PACKAGES = "g++-aarch64-linux-gnu libc6-dev-arm64-cross"
# Written by `runtime build` beside what it built.
_BUILD_FILE = "BUILD.json"


@dataclass(frozen=True)
class ServerFiles:
    """What is copied to a phone.

    Attributes
    ----------
    libc
        ``android`` or ``glibc``.
    files
        Local files; each lies under its name in one folder on the phone.
    command
        The server's command line, run in that folder, without its options.
    """

    libc: str
    files: tuple[Path, ...]
    command: str


def server_files(libc: str, arch: str, server: Path | None = None) -> ServerFiles:
    """Return the files for a phone.

    Parameters
    ----------
    libc
        ``android`` or ``glibc``.
    arch
        The phone's architecture.
    server
        A folder with `EXECUTABLE` and TVM's runtime libraries; by default what was built here.

    Raises
    ------
    UserInputError
        The folder holds no server, or one for another machine or C library.
    MissingToolError
        No server was built, or the compiler that builds it is missing.
    """
    if libc not in LIBCS:
        raise UserInputError(
            f"there is no C library {libc!r}", where="--libc", hint=f"choose from {LIBCS}"
        )
    if libc == "glibc" and arch != "aarch64":
        raise MissingToolError(
            f"the server with glibc is for 64-bit Arm, and the phone is {arch}",
            hint="build a server for Android and this machine, and name its folder: "
            "--libc android --server DIR",
        )
    folder = server or _own_server(libc, arch)
    executable = folder / EXECUTABLE
    if not executable.is_file():
        raise UserInputError(
            f"there is no {EXECUTABLE} in this folder",
            where=str(folder),
            hint="name the folder that `autoglm-tvm runtime build` printed",
        )
    check_server(executable, libc, arch)
    _check_versions(folder)
    own = tuple(sorted(path for path in folder.iterdir() if path.is_file() and is_elf(path)))
    if libc == "android":
        return ServerFiles(libc, own, f"exec env LD_LIBRARY_PATH=$PWD $PWD/{EXECUTABLE}")
    command = f"exec $PWD/{LOADER} --library-path $PWD $PWD/{EXECUTABLE}"
    return ServerFiles(libc, _with_c_library(own), command)


def built_for_android(arch: str) -> Path | None:
    """Return the newest server for Android that `autoglm-tvm runtime build` left in the cache."""
    if arch != "aarch64":
        return None
    found = [path.parent for path in cache_root().glob(f"runtime-android-arm64-*/{EXECUTABLE}")]
    return max(found, key=lambda folder: folder.stat().st_mtime, default=None)


def _own_server(libc: str, arch: str) -> Path:
    if libc == "glibc":
        return build_device_server("linux-arm64")
    folder = built_for_android(arch)
    if folder is None:
        raise MissingToolError(
            "no device server for Android was built on this machine",
            hint="build it: autoglm-tvm runtime build --target android-arm64 --ndk DIR; "
            "or do without the NDK: --libc glibc"
            if arch == "aarch64"
            else f"build one for Android on {arch}, and name its folder: --server DIR",
        )
    return folder


def _check_versions(folder: Path) -> None:
    """Refuse a server of another TVM than ours, where its folder tells."""
    path = folder / _BUILD_FILE
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["versions"]
    except (ValueError, KeyError, TypeError):
        found = "unknown"
    if found != PINNED_VERSIONS:
        raise UserInputError(
            f"this server was built from another TVM ({found}) than is installed here",
            where=str(folder),
            hint="build it again: autoglm-tvm runtime build --target android-arm64",
        )


def _with_c_library(own: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the files with every library that they need, the loader, and names for Android's.

    Libraries that were linked for Android name ``libc.so`` and ``libm.so``.
    """
    at = SYSROOT / "lib"
    if not (at / LOADER).is_file():
        raise MissingToolError(
            f"the C library for arm64 Linux is missing below {SYSROOT}",
            hint=f"apt-get install {DEBIAN_PACKAGES}",
        )
    found = {path.name: path for path in own}
    found[LOADER] = at / LOADER
    waiting = list(found.values())
    while waiting:
        for name in needed_libraries(waiting.pop()):
            if name not in found:
                if not (at / name).is_file():
                    raise MissingToolError(
                        f"the server needs {name}, which is missing in {at}",
                        hint=f"apt-get install {DEBIAN_PACKAGES}",
                    )
                found[name] = at / name
                waiting.append(at / name)
    shims = android_libc_shims()
    return (*(found[name] for name in sorted(found)), shims / "libc.so", shims / "libm.so")
