"""Processes that append to a record folder, to be killed or to run beside each other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Appends one batch of three records after another, and says the number of each when it is safe.
# With a limit it writes in small pieces, as a kernel may do, and kills itself after so many.
_SCRIPT = """
import os, signal, sys
from pathlib import Path
from autoglm_tvm.schedules.records import RecordStore
from tests.schedules.records.samples import trial

folder, start, count, limit = Path(sys.argv[1]), *map(int, sys.argv[2:])
store = RecordStore(folder)
write, pieces = os.write, 0

def write_piece(file, content):
    global pieces
    pieces += 1
    if pieces > limit:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, content[:100])

if limit:
    os.write = write_piece
print("ready", flush=True)
sys.stdin.readline()
for number in range(start, start + count):
    store.append([trial({"tile": number, "part": part}) for part in range(3)])
    print(number, flush=True)
"""


@contextmanager
def writer(folder: Path, start: int, count: int, limit: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that appends batches `start` to `start + count - 1` as soon as it is told to."""
    arguments = [str(folder), *map(str, (start, count, limit))]
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    """Let a writer begin."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def said_to_be_safe(process: subprocess.Popen[str]) -> set[int]:
    """The batches whose append returned, when the writer is dead."""
    assert process.stdout is not None
    return {int(line) for line in process.stdout.read().split()}
