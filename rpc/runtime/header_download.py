"""Fetch TVM's headers out of another project's source distribution, with the user's own pip."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError

# 90 MB, and TVM's repository lies in a folder of it.
_PROJECT, _VERSION = "tilelang", "0.1.14"
TVM_FOLDER = f"{_PROJECT}-{_VERSION}/3rdparty/tvm"
_TIMEOUT_S = 1800
# Before it keeps a download, pip asks the project's build tools for its name and version; they
# would all have to be installed. So a module of their name answers that one question.
_BUILD_TOOL = "scikit_build_core"
_STAND_IN = f"""
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "{_PROJECT}-{_VERSION}.dist-info")
    info.mkdir()
    text = "Metadata-Version: 2.1\\nName: {_PROJECT}\\nVersion: {_VERSION}\\n"
    (info / "METADATA").write_text(text)
    return info.name
"""


def download(names: Iterable[str], otherwise: str) -> dict[str, bytes]:
    """Return the content of files by their path in TVM's repository.

    Parameters
    ----------
    names
        The paths.
    otherwise
        What to do where this fails, for the error's hint.

    Raises
    ------
    CheckFailedError
        The distribution lacks one of them.
    MissingToolError
        pip is missing, or cannot download.
    """
    with tempfile.TemporaryDirectory(prefix="autoglm-headers-") as folder:
        archive = _fetch(Path(folder), otherwise)
        found = read_members(archive, names)
    for name in names:
        if name not in found:
            raise CheckFailedError(f"{_PROJECT} {_VERSION} lacks TVM's {name}", hint=otherwise)
    return found


def read_members(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the content of those files of TVM's repository that the archive has."""
    wanted = {f"{TVM_FOLDER}/{name}": name for name in names}
    found = {}
    with tarfile.open(archive) as files:
        for member in files:
            name = wanted.get(member.name)
            content = files.extractfile(member) if name is not None else None
            if name is not None and content is not None:
                found[name] = content.read()
    return found


def _fetch(folder: Path, otherwise: str) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise MissingToolError(
            "pip is not installed; it fetches headers that TVM's wheel lacks",
            hint=f"{sys.executable} -m ensurepip; or {otherwise}",
        )
    tool = folder / "tools" / _BUILD_TOOL
    tool.mkdir(parents=True)
    (tool / "__init__.py").write_text("")
    (tool / "build.py").write_text(_STAND_IN)
    command = [
        *[sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"],
        *["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--no-cache-dir"],
        *["--dest", str(folder), f"{_PROJECT}=={_VERSION}"],
    ]
    problem = _run(command, {**os.environ, "PYTHONPATH": str(tool.parent)})
    archives = list(folder.glob("*.tar.gz"))
    if not archives:
        raise MissingToolError(
            "cannot download headers that TVM's wheel lacks "
            f"(from the sources of {_PROJECT} {_VERSION}): {problem}",
            hint=f"see that pip works, or {otherwise}",
        )
    return archives[0]


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run pip and return the last thing that it said."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return f"it took over {_TIMEOUT_S} s"
    return (done.stderr.strip().splitlines() or ["no message"])[-1]
