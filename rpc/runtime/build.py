"""Build TVM's runtime and our device server from sources, once, into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from autoglm_tvm.artifacts.atomic_folder import check_replaceable, replace_folder
from autoglm_tvm.rpc.cache import cache_root, cached_folder
from autoglm_tvm.rpc.device_build import SOURCES as SERVER_SOURCES
from autoglm_tvm.rpc.runtime.cmake import CMake, Progress, find_cmake
from autoglm_tvm.rpc.runtime.headers import HEADERS, find_headers
from autoglm_tvm.rpc.runtime.sources import HERE, lay_out
from autoglm_tvm.rpc.runtime.toolchains import TOOLCHAINS, Toolchain
from autoglm_tvm.rpc.runtime_libraries import include_folders
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.versions import PINNED_VERSIONS, check_versions

RUNTIME_TARGETS = tuple(TOOLCHAINS)
BUILD_FILE = "BUILD.json"


@dataclass(frozen=True)
class RuntimeBuild:
    """A folder to copy to a device as it is.

    Attributes
    ----------
    folder
        The device server, TVM's runtime libraries, and `BUILD_FILE`, which tells what they are
        made from.
    files
        Sizes in bytes by name.
    was_cached
        Whether it had been built before.
    seconds
        How long it took.
    """

    target: str
    folder: Path
    files: dict[str, int]
    was_cached: bool
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Return all of it as JSON types."""
        return {**asdict(self), "folder": str(self.folder)}


def build_runtime(
    target: str,
    *,
    ndk: Path | None = None,
    tvm_source: Path | None = None,
    output: Path | None = None,
    jobs: int | None = None,
    progress: Progress = lambda what, done, steps: None,
) -> RuntimeBuild:
    """Build TVM's runtime and the device server, from the sources inside TVM's own wheels.

    Parameters
    ----------
    target
        ``android-arm64``, which needs the NDK, or ``linux-arm64`` (glibc).
    ndk
        The NDK's folder; by default what the environment names.
    tvm_source
        A checkout of TVM v0.27.0, for the headers that the wheel lacks; by default they are
        downloaded.
    output
        A folder to copy the result to; by default it stays in the cache.
    jobs
        Compilers at once; by default one for each CPU.
    progress
        Called with what is compiled, steps done and steps in all.

    Raises
    ------
    UserInputError
        There is no such target, or an option names something else than it should.
    MissingToolError
        NDK, compiler, CMake or Ninja is missing or fails.
    CheckFailedError
        A downloaded header is not what it should be.
    """
    if target not in TOOLCHAINS:
        raise UserInputError(
            f"no runtime is built for {target!r}", hint=f"choose from: {', '.join(TOOLCHAINS)}"
        )
    start = time.monotonic()
    check_versions()
    if output is not None:
        check_replaceable(output, BUILD_FILE)
    toolchain = TOOLCHAINS[target](ndk)
    # The libraries apart: they take minutes, and a change of the server leaves them as they are.
    libraries = f"tvm-runtime-{target}-{_hash_of_libraries(toolchain)}"
    name = f"runtime-{target}-{_hash_of_all(libraries)}"
    was_cached = (cache_root() / name).is_dir()

    def fill_libraries(folder: Path) -> None:
        cmake, work = find_cmake(_log()), folder / "work"
        configure_libraries(cmake, toolchain, find_headers(tvm_source), work)
        cmake.build("TVM's runtime", work / "build", limit, progress)
        cmake.install(work / "build", folder)
        shutil.rmtree(work)

    def fill(folder: Path) -> None:
        shutil.copytree(cached_folder(libraries, fill_libraries), folder, dirs_exist_ok=True)
        cmake, build = find_cmake(_log()), folder / "work"
        configure_server(cmake, toolchain, folder, build)
        cmake.build("the device server", build, limit, progress)
        cmake.install(build, folder)
        shutil.rmtree(build)
        for library in toolchain.libraries:
            shutil.copy(library, folder / library.name)
        _describe(folder, target, toolchain)

    limit = jobs or os.cpu_count() or 1
    folder = cached_folder(name, fill)
    if output is not None:
        with replace_folder(output, BUILD_FILE) as goal:
            shutil.copytree(folder, goal, dirs_exist_ok=True)
        folder = output
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return RuntimeBuild(target, folder, files, was_cached, time.monotonic() - start)


def configure_libraries(cmake: CMake, toolchain: Toolchain, headers: Path, work: Path) -> None:
    """Lay out TVM's sources in ``work/sources`` and make ``work/build``."""
    sources = work / "sources"
    sources.mkdir(parents=True)
    lay_out(headers, sources)
    settings = (f"-DTVM_SOURCES={sources}", *toolchain.settings)
    cmake.configure(HERE, work / "build", settings)


def configure_server(cmake: CMake, toolchain: Toolchain, libraries: Path, build: Path) -> None:
    """Make the folder where the server is built against ``libraries``."""
    includes = ";".join(str(path) for path in include_folders())
    settings = (f"-DTVM_INCLUDE={includes}", f"-DTVM_LIB={libraries}", *toolchain.settings)
    cmake.configure(SERVER_SOURCES, build, settings)


def _log() -> Path:
    return cache_root() / "runtime-build.log"


def _hash_of_libraries(toolchain: Toolchain) -> str:
    """Return a hash of all that TVM's libraries are made from."""
    own = (HERE / "CMakeLists.txt", HERE / "nvtx.h")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in own))
    made_from = [HEADERS, toolchain.about, PINNED_VERSIONS]
    digest.update(json.dumps(made_from, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _hash_of_all(libraries: str) -> str:
    digest = hashlib.sha256(libraries.encode())
    for path in sorted(SERVER_SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _describe(folder: Path, target: str, toolchain: Toolchain) -> None:
    files = {path.name: path for path in sorted(folder.iterdir())}
    content = {
        "target": target,
        "versions": PINNED_VERSIONS,
        "toolchain": toolchain.about,
        "files": {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
        },
    }
    (folder / BUILD_FILE).write_text(json.dumps(content, indent=1) + "\n")
