"""`replace_folder` under kill -9, and with two processes at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoglm_tvm.artifacts.atomic_folder import replace_folder

NAMES = ("0", "1", "2", "3", "manifest.json")
KILLS = 40
# Replaces the folder again and again: file by file, every byte of a file is its generation.
_WRITER = """
import sys, time
from pathlib import Path
from autoglm_tvm.artifacts.atomic_folder import replace_folder

goal, start, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for generation in range(start, start + count):
    with replace_folder(goal, owned_if="manifest.json") as work:
        for name in ("0", "1", "2", "3", "manifest.json"):
            (work / name).write_bytes(generation.to_bytes(4, "big") * 5000)
"""


@contextmanager
def _writer(goal: Path, start: int, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _WRITER, str(goal), str(start), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _generation(goal: Path) -> int:
    """The one generation that all files of the folder are of, whole."""
    contents = {path.name: path.read_bytes() for path in goal.iterdir()}
    assert sorted(contents) == sorted(NAMES)
    (content,) = set(contents.values())
    assert content == content[:4] * 5000
    return int.from_bytes(content[:4], "big")


def _write(goal: Path, generation: int) -> None:
    with replace_folder(goal, owned_if="manifest.json") as work:
        for name in NAMES:
            (work / name).write_bytes(generation.to_bytes(4, "big") * 5000)


def test_killed_at_any_moment_the_folder_is_old_or_new(tmp_path: Path) -> None:
    moments = random.Random(0)
    goal = tmp_path / "b"
    _write(goal, 0)
    killed_in_the_middle = replaced_before = 0
    generation = 0
    for _ in range(KILLS):
        with _writer(goal, generation + 1, 10_000) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, 0.03))
            writer.send_signal(signal.SIGKILL)
            assert writer.wait(60) == -signal.SIGKILL
        killed_in_the_middle += _names(tmp_path) != ["b"]
        found = _generation(goal)
        assert found >= generation
        replaced_before += found > generation
        # The next run cleans up after the killed one.
        generation = found + 1
        _write(goal, generation)
        assert _names(tmp_path) == ["b"]
        assert _generation(goal) == generation
    # The moments did fall into the work, before and after a replacement.
    assert killed_in_the_middle > KILLS // 4
    assert replaced_before > KILLS // 4


def test_two_processes_replace_one_folder_at_once(tmp_path: Path) -> None:
    goal = tmp_path / "b"
    _write(goal, 0)
    seen = set()
    with _writer(goal, 1, 60) as first, _writer(goal, 1001, 60) as second:
        while first.poll() is None or second.poll() is None:
            seen.add(_generation_if_it_stays(goal))
        assert (first.returncode, second.returncode) == (0, 0)
    assert _names(tmp_path) == ["b"]
    assert _generation(goal) in (60, 1060)
    # The reader saw the work of both.
    assert any(generation and generation < 1000 for generation in seen)
    assert any(generation and generation > 1000 for generation in seen)


def _generation_if_it_stays(goal: Path) -> int | None:
    """Read through a handle on the folder: it never holds files of two generations."""
    folder = os.open(goal, os.O_RDONLY)
    contents = set()
    try:
        for name in NAMES:
            file = os.open(name, os.O_RDONLY, dir_fd=folder)
            with os.fdopen(file, "rb") as opened:
                contents.add(opened.read())
    except FileNotFoundError:
        return None  # It was replaced and removed meanwhile.
    finally:
        os.close(folder)
        assert len(contents) <= 1
    return int.from_bytes(contents.pop()[:4], "big")
