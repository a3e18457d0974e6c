"""The tracker: the process at which devices register and clients ask for one.

``python -m autoglm_tvm.rpc.tracker`` runs TVM's tracker in one process. TVM's own command starts it
in a child process (``popen_worker``) that stays alive when its parent is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO

from autoglm_tvm.targets.errors import MissingToolError

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class TrackerProcess:
    """A tracker that runs as a child of this process and dies with it."""

    process: subprocess.Popen[str]
    host: str
    port: int

    @property
    def address(self) -> str:
        """``HOST:PORT``, as ``--tracker`` takes it."""
        return f"{self.host}:{self.port}"

    def stop(self) -> None:
        """End the tracker and wait until it is gone."""
        stop_group(self.process)


def stop_group(process: subprocess.Popen[str]) -> None:
    """Kill a child that was started with ``start_new_session`` and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def start_tracker(
    host: str = "127.0.0.1", port: int | None = None, timeout_s: float = 60
) -> TrackerProcess:
    """Start a tracker on ``port``, or on a free port.

    Raises
    ------
    MissingToolError
        It does not come up in time, for example because the port is taken.
    """
    first = port or random.randrange(20000, 30000)
    last = first if port else first + 1000
    command = [
        *[sys.executable, "-m", "autoglm_tvm.rpc.tracker", "--host", host, "--port", str(first)],
        *["--port-end", str(last + 1), "--exit-with-parent", str(os.getpid())],
    ]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            return TrackerProcess(process, host, _read_port(process, errors, timeout_s))
        except BaseException:
            stop_group(process)
            raise


def _read_port(process: subprocess.Popen[str], errors: IO[str], timeout_s: float) -> int:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    line = process.stdout.readline().strip() if ready else ""
    if line.isdigit():
        return int(line)
    errors.seek(0)
    said = errors.read().strip().splitlines() or ["no message"]
    raise MissingToolError(
        f"the tracker did not start: {said[-1]}",
        hint="choose another port if this one is taken; pip install tornado if that is missing",
    )


def _exit_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


def main() -> None:
    """Run a tracker until a signal ends it; print its port when it is ready."""
    parser = argparse.ArgumentParser(prog="python -m autoglm_tvm.rpc.tracker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9190, help="first port to try")
    parser.add_argument("--port-end", type=int, help="port after the last one to try")
    parser.add_argument("--exit-with-parent", type=int, metavar="PID", help="end when PID ends")
    options = parser.parse_args()
    if options.exit_with_parent is not None:
        _exit_with(options.exit_with_parent)

    from tvm.rpc.tracker import PopenTrackerServerState

    # The class behind `tvm.rpc.tracker.Tracker`, without the child process around it.
    state = PopenTrackerServerState(
        options.host, options.port, options.port_end or options.port + 1, silent=True
    )
    print(state.port, flush=True)
    while state.thread.is_alive():
        time.sleep(1)


if __name__ == "__main__":
    main()
