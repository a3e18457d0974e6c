"""A disk that is small, full or read-only: a tmpfs in a mount namespace that only a child sees."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Where scripts find the package `tests`.
_ROOT = Path(__file__).parents[1]
_MOUNT = """
import subprocess, sys
folder, options = sys.argv[1:3]
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
"""


def run_on_disk(folder: Path, options: str, script: str, *arguments: str | Path) -> Any:
    """Mount a tmpfs on ``folder``, run a Python script there, and return the JSON that it prints.

    Parameters
    ----------
    folder
        An existing folder. The mount vanishes with the script.
    options
        Of the mount, such as ``size=64k``.
    script
        Python code; ``sys.argv[1]`` is ``folder``, ``sys.argv[2]`` the options, then `arguments`.
    """
    command = [*_unshare(), sys.executable, "-c", _MOUNT + script, folder, options, *arguments]
    done = subprocess.run(
        command, cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@cache
def _unshare() -> tuple[str, ...]:
    """As root a mount namespace is enough; another user needs to be root of a user namespace."""
    for command in (("unshare", "-m"), ("unshare", "-rm")):
        probe = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", "/mnt"]
        done = subprocess.run([*command, *probe], capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            return command
    pytest.skip("this machine lets nobody mount a tmpfs in a namespace of his own (unshare -rm)")
