"""A process that works for us: start it, ask it with a deadline, kill it.

Its module is run as `python -m MODULE FD PID`: a socket to us, and who its parent is. It sends
`READY` when it has imported what it needs, then an answer to each request.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing.connection import Connection as Channel
from typing import Any

# The first message of every worker.
READY = "ready"
# Importing TVM takes 2 s of one core, on a machine that has other things to do.
_START_S = 180


class WorkerEndedError(Exception):
    """The worker process has ended by itself or was killed; the message tells how."""


class WorkerStuckError(Exception):
    """The worker did not answer in time, and was killed."""


class WorkerProcess:
    """A worker process that is started when it is first needed, and again after it has ended.

    One thread uses it; `kill` may be called from any. When we end, the channel closes, and the
    module should end too; one that has the kernel end it with its parent ends with the *thread*
    that started it.

    Parameters
    ----------
    module
        What it runs.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self._channel: Channel | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `close`
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start the process and wait until it can work.

        Raises
        ------
        WorkerEndedError
            It ended at once; the message has its last words.
        WorkerStuckError
            It does not get ready.
        """
        with self._lock:
            if self._closed:
                raise WorkerEndedError("the pool is being closed")
            if self._channel is not None:
                return
            self._errors.seek(0)
            self._errors.truncate()
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [
                        *[sys.executable, "-m", self._module],
                        *[str(theirs.fileno()), str(os.getpid())],
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    text=True,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the tuner
                )
            self._channel = Channel(ours.detach())
        if self._receive(_START_S) != READY:
            raise WorkerEndedError("the worker process speaks another language")

    def ask(self, *request: Any, timeout_s: float) -> Any:
        """Return the answer to a request.

        Raises
        ------
        WorkerEndedError, WorkerStuckError
            There is none. The process is gone then.
        """
        self.start()
        assert self._channel is not None
        with contextlib.suppress(OSError):  # whether it has ended is seen below
            self._channel.send(request)
        return self._receive(timeout_s)

    def kill(self) -> None:
        """End the process; whoever waits for its answer learns of it."""
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self._forget()
        self._errors.close()

    def _receive(self, timeout_s: float) -> Any:
        assert self._channel is not None
        try:
            if not self._channel.poll(timeout_s):
                self._forget()
                raise WorkerStuckError(f"no answer within {timeout_s:g} s")
            return self._channel.recv()
        except (EOFError, OSError) as error:
            raise WorkerEndedError(self._last_words()) from error

    def _last_words(self) -> str:
        process = self._process
        self._forget()
        code = process.poll() if process is not None else None
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"the worker process ended ({how})" + (f": {said[-1]}" if said else "")

    def _forget(self) -> None:
        self.kill()
        with self._lock:
            self._process = None
            if self._channel is not None:
                self._channel.close()
                self._channel = None
