"""What this machine can do, and what is missing with the command that mends it (`doctor`)."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoglm_tvm.targets import cpus
from autoglm_tvm.targets.errors import AutoglmError
from autoglm_tvm.targets.linkers import INSTALL_HINT, NDK_VARIABLE, find_linkers
from autoglm_tvm.targets.presets import load_presets
from autoglm_tvm.targets.target import Target, resolve_target
from autoglm_tvm.targets.versions import PINNED_VERSIONS, installed_version, pip_install_pins

PYTHON_VERSIONS = ((3, 10), (3, 13))
SMALL_MEMORY_GIB = 2.0
# The main job of the project: without a linker for it, something required is missing.
MAIN_TARGET = "android-arm64"
PACKAGES = (
    ("onnx", "reading models"),
    ("onnxruntime", "the reference that outputs are compared with"),
    ("onnxslim", "cleaning up models before the import"),
    ("numpy", "inputs and outputs"),
    ("pyelftools", "checking the libraries"),
    ("xgboost-cpu", "the cost model of tuning"),
)
# Program, Debian package, what for.
TOOLS = (
    ("qemu-aarch64-static", "qemu-user-static", "the emulated phone of the tests"),
    ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu", "building the emulated phone's server"),
    ("adb", "adb", "phones on USB"),
)


@dataclass(frozen=True)
class Capability:
    """One thing that this machine has or lacks.

    Attributes
    ----------
    name
        What was looked for.
    ok
        Whether it is there.
    detail
        The version or place found, or what was found instead.
    hint
        The command that mends it; empty where `ok`.
    needed_for
        What it is used for.
    required
        Whether the main job, compiling for a phone, needs it.
    """

    name: str
    ok: bool
    detail: str
    hint: str
    needed_for: str
    required: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for `doctor --json`."""
        return asdict(self)


def probe() -> list[Capability]:
    """Look at this machine; imports no TVM and starts no program."""
    return [
        _python(),
        *(_pinned(name, version) for name, version in PINNED_VERSIONS.items()),
        *(_package(name, needed_for) for name, needed_for in PACKAGES),
        *(_linker(name) for name in load_presets()),
        _ndk(),
        *(_tool(program, package, what) for program, package, what in TOOLS),
        _cores(),
        _memory(),
    ]


def _python() -> Capability:
    low, high = PYTHON_VERSIONS
    span = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
    ok = low <= sys.version_info[:2] <= high
    hint = "" if ok else f"install Python {span} and make the virtual environment with it"
    return Capability("python", ok, platform.python_version(), hint, f"everything ({span})", True)


def _pinned(name: str, version: str) -> Capability:
    found = installed_version(name)
    ok = found == version
    detail = version if ok else f"{found or 'not installed'}, need exactly {version}"
    return Capability(name, ok, detail, "" if ok else pip_install_pins(), "compiling", True)


def _package(name: str, needed_for: str) -> Capability:
    found = installed_version(name)
    hint = "" if found else f"pip install {name}"
    return Capability(name, bool(found), found or "not installed", hint, needed_for, True)


def _linker(preset: str) -> Capability:
    name, needed_for = f"linker for {preset}", f"compile --target {preset}"
    required = preset == MAIN_TARGET
    try:
        linkers = find_linkers(_target_to_link(preset))
    except AutoglmError as error:
        return Capability(name, False, error.what, error.hint, needed_for, required)
    found = next((linker for linker in linkers if linker.found), None)
    if found:
        detail = f"{found.kind}: {found.reason}"
        return Capability(name, True, detail, "", needed_for, required)
    detail = "; ".join(f"{linker.kind}: {linker.reason}" for linker in linkers)
    return Capability(name, False, detail, INSTALL_HINT, needed_for, required)


def _target_to_link(preset: str) -> Target:
    """The target as far as linkers care; to resolve `host` wholly would import TVM (2 s)."""
    if not load_presets()[preset].is_native:
        return resolve_target(preset)
    return replace(resolve_target("linux-arm64"), name=preset, arch=cpus.host_arch())


def _ndk() -> Capability:
    name, needed_for = "Android NDK", "building an Android runtime (models link without it)"
    hint = f"install the NDK and export {NDK_VARIABLE}=/path/to/ndk"
    try:
        ndk = find_linkers(resolve_target(MAIN_TARGET))[0]
    except AutoglmError as error:
        return Capability(name, False, str(error.what), error.hint, needed_for, False)
    return Capability(name, ndk.found, ndk.reason, "" if ndk.found else hint, needed_for, False)


def _tool(program: str, package: str, needed_for: str) -> Capability:
    path = shutil.which(program)
    hint = "" if path else f"sudo apt-get install {package}"
    return Capability(program, bool(path), path or "not on PATH", hint, needed_for, False)


def _cores() -> Capability:
    count = os.cpu_count() or 1
    return Capability("cores", True, str(count), "", "compiling and tuning", False)


def _memory() -> Capability:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    ok = gib >= SMALL_MEMORY_GIB
    hint = "" if ok else f"give the machine at least {SMALL_MEMORY_GIB:g} GB, or add swap"
    return Capability("memory", ok, f"{gib:.1f} GiB", hint, "compiling", False)
