"""adbd's shell services: commands in the phone's shell, with and without adb's shell protocol."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import IO

from tests.devices.adbd.protocol import Stream, StreamClosedError

_STDOUT, _STDERR, _EXIT = 1, 2, 3


def serve_shell(
    stream: Stream,
    start: Callable[[], subprocess.Popen[bytes]],
    cleaned: Callable[[bytes], bytes],
    *,
    v2: bool,
) -> None:
    """Run a command and send what it prints.

    Parameters
    ----------
    stream
        The computer's stream.
    start
        Starts the command with pipes, as the leader of a process group.
    cleaned
        Turns this machine's paths in the output into the phone's.
    v2
        Whether outputs and exit code are packed into packets (``shell,v2:``).
    """
    process = start()
    assert process.stdout is not None
    assert process.stderr is not None
    writing = threading.Lock()

    def copy(pipe: IO[bytes], kind: int) -> None:
        while data := os.read(pipe.fileno(), 32 * 1024):
            data = cleaned(data)
            head = struct.pack("<BI", kind, len(data)) if v2 else b""
            with writing, contextlib.suppress(StreamClosedError):
                stream.write(head + data)

    copies = [
        threading.Thread(target=copy, args=item, daemon=True)
        for item in ((process.stdout, _STDOUT), (process.stderr, _STDERR))
    ]
    for thread in copies:
        thread.start()
    for thread in copies:
        thread.join()
    code = process.wait()
    # A phone loses what is left in the group of a shell that has ended.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGHUP)
    if v2:
        stream.write(struct.pack("<BIB", _EXIT, 1, code & 0xFF))
