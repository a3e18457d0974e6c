"""The tracker: the process at which devices register and clients ask for one.

``python -m autoglm_tvm.rpc.tracker`` runs TVM's tracker in one process. TVM's own command starts it
in a child process (``popen_worker``) that stays alive when its parent is killed.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autoglm_tvm.rpc.process_group import end_with_parent, stop_group
from autoglm_tvm.targets.errors import AutoglmError, MissingToolError

_ERROR = "error: "


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


def start_tracker(
    host: str = "127.0.0.1",
    port: int | None = None,
    timeout_s: float = 120,
    *,
    log: Path | None = None,
) -> TrackerProcess:
    """Start a tracker on ``port``, or on a free port.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on; by default one that is free.
    timeout_s
        How long to wait until it listens.
    log
        A file for what it says. With one it outlives this process, without it dies with us.

    Raises
    ------
    MissingToolError
        It does not come up in time, for example because the port is taken.
    """
    first = port or random.randrange(20000, 30000)
    last = first if port else first + 1000
    command = [
        *[sys.executable, "-m", "autoglm_tvm.rpc.tracker", "--host", host, "--port", str(first)],
        *["--port-end", str(last + 1)],
    ]
    if log is None:
        command += ["--exit-with-parent", str(os.getpid())]
    with tempfile.TemporaryFile("w+") if log is None else log.open("w+") as errors:
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
    port = line.rpartition(":")[2]
    if port.isdecimal():
        return int(port)
    errors.seek(0)
    said = errors.read().strip().splitlines() or [f"no message within {timeout_s:g} s"]
    reason = next((text for text in said if text.startswith(_ERROR)), _ERROR + said[-1])
    raise MissingToolError(
        f"the tracker did not start: {reason[len(_ERROR) :]}",
        hint="choose another port if this one is taken",
    )


def serve_tracker(host: str, port: int, port_end: int) -> None:
    """Run TVM's tracker in this process until a signal ends it; print its address when it is ready.

    Raises
    ------
    MissingToolError
        It cannot listen there, or the package tornado is missing.
    """
    try:
        from tvm.rpc.tracker import PopenTrackerServerState

        # The class behind `tvm.rpc.tracker.Tracker`, without the child process around it.
        state = PopenTrackerServerState(host, port, port_end, silent=True)
    except ImportError as error:
        raise MissingToolError(f"cannot import {error.name}", hint="pip install tornado") from error
    except (OSError, ValueError) as error:
        raise MissingToolError(
            f"cannot listen on {host}:{port}: {error}", hint="choose another --host or --port"
        ) from error
    # The tracker's thread would keep Python from ending by Ctrl-C. Before the address is told: who
    # reads it may send the signal at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print(f"{host}:{state.port}", flush=True)
    state.thread.join()


def main() -> None:
    """Run a tracker until a signal ends it."""
    parser = argparse.ArgumentParser(
        prog="python -m autoglm_tvm.rpc.tracker",
        description="Run a tracker: devices register there, and clients ask it for one. "
        "Prints HOST:PORT when it is ready, and runs until Ctrl-C.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=9190, help="first port to try (%(default)s)")
    parser.add_argument("--port-end", type=int, help="port after the last one to try (PORT + 1)")
    parser.add_argument("--exit-with-parent", type=int, metavar="PID", help="end when PID ends")
    options = parser.parse_args()
    if options.exit_with_parent is not None:
        end_with_parent(options.exit_with_parent)
    try:
        serve_tracker(options.host, options.port, options.port_end or options.port + 1)
    except AutoglmError as error:
        sys.stderr.write(f"{_ERROR}{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
