"""Programs that the counting needs: the plugin of qemu, and what runs models on arm64."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.rpc.runtime_libraries import arm64_libraries, include_folders
from autoglm_tvm.targets.errors import MissingToolError

#: 1.31.1, the newest when this was written, crashes under qemu 7.2 when it is loaded.
ONNXRUNTIME_VERSION = "1.26.0"
DEBIAN_PACKAGES = "gcc g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
SYSROOT = Path("/usr/aarch64-linux-gnu")
QEMU = "qemu-aarch64"
_NATIVE = Path(__file__).resolve().parent / "native"
_CC, _ARM_CC, _ARM_CXX = "gcc", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"
_CXX_FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra")
_TIMEOUT_S = 900
#: Major version of qemu that no longer takes version 1 of the plugins' interface.
_TOO_NEW_QEMU = 9


@dataclass(frozen=True)
class Tools:
    """Paths of what `build_tools` made.

    Attributes
    ----------
    plugin
        The plugin of qemu (``native/tcg_plugin.c``).
    run_bundle
        Runs a bundle's library; the runtime libraries lie beside it.
    run_onnxruntime
        Runs an ONNX file; onnxruntime lies beside it.
    """

    plugin: Path
    run_bundle: Path
    run_onnxruntime: Path

    @property
    def libraries(self) -> Path:
        """The folder in which the emulated loader finds libraries."""
        return self.run_bundle.parent


def build_tools() -> Tools:
    """Return the programs, built once and cached.

    Raises
    ------
    MissingToolError
        qemu or a compiler is missing or fails, or a wheel cannot be downloaded.
    """
    missing = [tool for tool in (QEMU, _CC, _ARM_CC, _ARM_CXX) if not shutil.which(tool)]
    if not (SYSROOT / "lib" / "ld-linux-aarch64.so.1").exists():
        missing.append(f"the arm64 C library below {SYSROOT}")
    if missing:
        raise MissingToolError(
            f"counting arm64 instructions lacks {', '.join(missing)}",
            hint=f"apt-get install --no-install-recommends {DEBIAN_PACKAGES}",
        )
    _check_qemu()
    folder = cached_folder(f"count-aarch64-{_content_hash()}", _build)
    return Tools(folder / "tcg_plugin.so", folder / "run_bundle", folder / "run_onnxruntime")


def qemu_version() -> str:
    """Return the version of qemu, as it tells it."""
    found = re.search(r"version (\d[\w.]*)", _run([QEMU, "--version"]).stdout)
    return found.group(1) if found else "0"


def _check_qemu() -> None:
    version = qemu_version()
    too_new = int(version.split(".")[0]) >= _TOO_NEW_QEMU
    if too_new or "-plugin" not in _run([QEMU, "--help"]).stdout:
        raise MissingToolError(
            f"this qemu ({version}) takes no plugins, or none of version 1 of the interface",
            where=shutil.which(QEMU) or QEMU,
            hint="use the package qemu-user of Debian 12 (Debian 13's takes none), or a build of "
            "qemu 8.2 with --enable-plugins",
        )


def _content_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(_NATIVE.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    libraries = arm64_libraries()[0].parent.name
    digest.update(repr((_CXX_FLAGS, ONNXRUNTIME_VERSION, libraries)).encode())
    return digest.hexdigest()[:16]


def _build(folder: Path) -> None:
    native = str(_NATIVE)
    _compile(
        *[_CC, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC"],
        *[f"{native}/tcg_plugin.c", "-o", str(folder / "tcg_plugin.so")],
    )
    # Android's libraries name these two; glibc's functions stand in for theirs.
    for name in ("libc.so", "libm.so"):
        _compile(
            *[_ARM_CC, "-shared", "-nostdlib", f"-Wl,-soname,{name}"],
            *["-x", "c", "/dev/null", "-o", str(folder / name)],
        )
    runtime = arm64_libraries()
    for library in runtime:
        shutil.copy(library, folder / library.name)
    _compile(
        *[_ARM_CXX, *_CXX_FLAGS, *(f"-isystem{path}" for path in include_folders())],
        *[f"{native}/run_bundle.cc", "-o", str(folder / "run_bundle")],
        # One of them is only reached by name, at run time.
        *["-Wl,--no-as-needed", *(str(folder / library.name) for library in runtime)],
    )
    _unpack_onnxruntime(folder)
    _compile(
        *[_ARM_CXX, *_CXX_FLAGS, f"{native}/run_onnxruntime.cc"],
        *["-o", str(folder / "run_onnxruntime"), str(folder / "libonnxruntime.so.1")],
    )


def _unpack_onnxruntime(folder: Path) -> None:
    wheels = folder / "wheels"
    command = [
        *[sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"],
        *["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(wheels)],
        # The C library in it does not depend on Python's version.
        *["--platform", "manylinux_2_28_aarch64", "--platform", "manylinux_2_27_aarch64"],
        *["--python-version", "3.11", "--implementation", "cp"],
        f"onnxruntime=={ONNXRUNTIME_VERSION}",
    ]
    done = _run(command)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingToolError(
            f"cannot download onnxruntime {ONNXRUNTIME_VERSION} for arm64: {reason}",
            hint="see that pip works and finds the wheel: " + " ".join(command),
        )
    member = f"onnxruntime/capi/libonnxruntime.so.{ONNXRUNTIME_VERSION}"
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
        (folder / "libonnxruntime.so.1").write_bytes(archive.read(member))
    shutil.rmtree(wheels)


def _compile(*command: str) -> None:
    done = _run(command)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise MissingToolError(
            f"{command[0]} fails: {errors[0]}",
            hint=f"apt-get install --reinstall {DEBIAN_PACKAGES}",
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MissingToolError(
            f"{command[0]} took over {_TIMEOUT_S} s", hint="see what keeps the machine busy"
        ) from None
