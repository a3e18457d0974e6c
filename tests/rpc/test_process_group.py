"""Ending a process with all that it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoglm_tvm.rpc import process_group
from autoglm_tvm.rpc.process_group import processes_in_groups, stop_group
from autoglm_tvm.targets.errors import MissingToolError

# A family of four: the first one waits for the others, who hold much memory and so die slowly.
_FAMILY = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20) * 50)
        break
os.write(1, b"ready\\n")  # in one piece
time.sleep(600)
"""
# A main thread that has ended, with another one that goes on.
_HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall({exit_thread}, 0)
"""


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def test_nobody_is_left_when_it_returns() -> None:
    process = start(_FAMILY)
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == "ready\n"
    assert len(processes_in_groups([process.pid])) == 4
    stop_group(process)
    assert processes_in_groups([process.pid]) == []
    assert process.returncode == -9


def test_the_others_are_ended_when_the_first_has_gone() -> None:
    process = start(
        _FAMILY.replace("time.sleep(600)", "time.sleep(600 if held else 0)").replace(
            "import os, time", "import os, time; held = None"
        )
    )
    process.wait(timeout=60)
    assert len(processes_in_groups([process.pid])) == 3
    stop_group(process)
    assert processes_in_groups([process.pid]) == []


def test_a_zombie_is_dead_and_one_with_threads_is_not() -> None:
    zombie = start("")
    headless = start(_HEADLESS.format(exit_thread=93 if os.uname().machine == "aarch64" else 60))
    try:
        deadline = time.monotonic() + 60
        for process in (zombie, headless):
            stat = Path(f"/proc/{process.pid}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] != "Z":
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert processes_in_groups([zombie.pid]) == []
        assert processes_in_groups([headless.pid]) == [headless.pid]
    finally:
        stop_group(zombie)
        stop_group(headless)
    assert processes_in_groups([headless.pid]) == []


def test_one_that_does_not_die_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start("import time; time.sleep(600)")
    with monkeypatch.context() as patch:
        patch.setattr(process_group, "_GONE_TIMEOUT_S", 0)
        patch.setattr(os, "killpg", lambda *_: None)
        with pytest.raises(
            MissingToolError, match=rf"\[{process.pid}\] were killed and still live"
        ):
            stop_group(process)
    stop_group(process)
