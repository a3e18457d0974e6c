"""Lay out the sources of TVM's runtime and ffi, as ``CMakeLists.txt`` beside expects them."""

from __future__ import annotations

import shutil
from pathlib import Path

from autoglm_tvm.rpc.runtime.headers import HEADERS
from autoglm_tvm.rpc.runtime_libraries import package_folder
from autoglm_tvm.targets.errors import MissingToolError
from autoglm_tvm.targets.versions import pip_install_pins

HERE = Path(__file__).resolve().parent
# Package, folder in it, folder in the layout.
_FOLDERS = (
    ("tvm", "include", "tvm/include"),
    ("tvm", "src/runtime", "tvm/src/runtime"),
    ("tvm_ffi", "include", "ffi/include"),
    ("tvm_ffi", "src/ffi", "ffi/src/ffi"),
)


def lay_out(headers: Path, folder: Path) -> None:
    """Copy what the wheels hold, and the headers that they lack.

    Parameters
    ----------
    headers
        A folder with `HEADERS`.
    folder
        Where to; must exist.

    Raises
    ------
    MissingToolError
        The installed TVM came without its sources.
    """
    for package, source, goal in _FOLDERS:
        path = package_folder(package) / source
        if not path.is_dir():
            raise MissingToolError(
                f"the installed package {package} holds no {source}",
                where=str(path.parent),
                hint=f"install TVM from its wheel: {pip_install_pins()}",
            )
        shutil.copytree(path, folder / goal)
    for name in HEADERS:
        goal = folder / "tvm" / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(headers / name, goal)
    marks = folder / "tvm/include/tvm/support/cuda"
    marks.mkdir(parents=True)
    shutil.copy(HERE / "nvtx.h", marks / "nvtx.h")
