"""End a child process with everything that it started, and know that all of it is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError

_GONE_TIMEOUT_S = 60
_KILL_AGAIN_S = 1
_POLL_S = 0.01
_PR_SET_PDEATHSIG = 1
# Fields of /proc/PID/stat, counted from the one behind the name.
_STATE, _GROUP, _THREADS = 0, 2, 17


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread of ``parent`` that started it ends (Linux).

    Exits at once if ``parent`` has ended already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


def stop_group(process: subprocess.Popen[str]) -> None:
    """Kill a child that was started with ``start_new_session``, and its process group.

    Returns when no process of the group lives any more.

    Raises
    ------
    MissingToolError
        One of them does not die in time: the kernel holds it, waiting for a disk for example.
    """
    # The child is reaped last: until then nobody else can be given its number, the group's.
    _kill_until_empty(process.pid)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def processes_in_groups(groups: Collection[int]) -> list[int]:
    """Return the ids of all living processes of these process groups (Linux).

    A zombie is no living process: whoever started it may never ask for its exit code. But one
    whose other threads still run only looks like a zombie.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        dead = fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1
        if int(fields[_GROUP]) in groups and not dead:
            found.append(int(path.parent.name))
    return found


def _kill_until_empty(group: int) -> None:
    deadline = time.monotonic() + _GONE_TIMEOUT_S
    again = 0.0
    while True:
        if time.monotonic() >= again:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            again = time.monotonic() + _KILL_AGAIN_S
        left = processes_in_groups([group])
        if not left:
            return
        if time.monotonic() > deadline:
            raise MissingToolError(
                f"processes {left} were killed and still live after {_GONE_TIMEOUT_S} s",
                hint="see what they wait for: ps -o pid,stat,wchan,cmd -p "
                + ",".join(str(process) for process in left),
            )
        time.sleep(_POLL_S)
