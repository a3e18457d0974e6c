"""TVM's runtime libraries for a device: from its own wheels, of the version that is pinned.

The wheels for Linux arm64 hold a runtime that needs nothing but glibc and libstdc++. A client and a
device must have the same version: the one that is pinned.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.targets.errors import MissingToolError
from autoglm_tvm.targets.versions import PINNED_VERSIONS, check_versions

# Package, folder in the package, library. The second one holds what tuning calls on a device
# (tvm.contrib.random); nothing links to it by itself.
LIBRARIES = (
    ("tvm", "libtvm_runtime.so"),
    ("tvm", "libtvm_runtime_extra.so"),
    ("tvm_ffi", "libtvm_ffi.so"),
)
# The tag of wheels is "cp311" where they hold Python extensions; the libraries do not depend on it.
_ANY_PYTHON = "3.11"
_DOWNLOAD_TIMEOUT_S = 900


def package_folder(package: str) -> Path:
    """Return the folder of ``tvm`` or ``tvm_ffi`` without importing it (TVM takes 2 s)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingToolError(
            f"the package {package} is not installed", hint="pip install autoglm-tvm"
        )
    return Path(spec.origin).parent


def include_folders() -> list[Path]:
    """Return the folders of TVM's headers; they are the same for every machine."""
    return [package_folder(package) / "include" for package in ("tvm", "tvm_ffi")]


def host_libraries() -> list[Path]:
    """Return the runtime libraries of this machine."""
    return [package_folder(package) / "lib" / name for package, name in LIBRARIES]


def arm64_libraries() -> list[Path]:
    """Return the runtime libraries for Linux arm64 (glibc), downloaded once.

    Raises
    ------
    MissingToolError
        Another TVM is installed here, pip is missing, or it finds no wheel.
    """
    check_versions()
    stamp = "-".join(PINNED_VERSIONS.values())
    folder = cached_folder(f"runtime-aarch64-linux-gnu-{stamp}", _download_arm64)
    return [folder / name for _, name in LIBRARIES]


def _download_arm64(folder: Path) -> None:
    wheels = folder / "wheels"
    wanted = [f"{name}=={number}" for name, number in PINNED_VERSIONS.items()]
    command = [
        *[sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"],
        *["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(wheels)],
        *["--platform", "manylinux_2_28_aarch64", "--python-version", _ANY_PYTHON],
        *["--implementation", "cp", *wanted],
    ]
    hint = "see that pip works and finds the wheels: " + " ".join(command)
    if importlib.util.find_spec("pip") is None:
        raise MissingToolError(
            "pip is not installed; it fetches TVM's runtime for the device",
            hint=f"{sys.executable} -m ensurepip",
        )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MissingToolError(
            f"downloading {' '.join(wanted)} for arm64 took over {_DOWNLOAD_TIMEOUT_S} s", hint=hint
        ) from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingToolError(f"cannot download {' '.join(wanted)} for arm64: {reason}", hint=hint)
    _unpack(wheels, folder)


def _unpack(wheels: Path, folder: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            members = set(archive.namelist())
            for package, name in LIBRARIES:
                member = f"{package}/lib/{name}"
                if member in members:
                    (folder / name).write_bytes(archive.read(member))
    shutil.rmtree(wheels)
    missing = [name for _, name in LIBRARIES if not (folder / name).is_file()]
    if missing:
        raise MissingToolError(
            f"TVM's wheels for arm64 lack {', '.join(missing)}",
            hint="install the versions of apache-tvm and apache-tvm-ffi that autoglm-tvm names",
        )
