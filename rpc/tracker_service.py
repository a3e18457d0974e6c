"""One tracker in the background for this user: started, asked and stopped from the command line."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.rpc.tracker import start_tracker
from autoglm_tvm.rpc.tracker_client import DeviceCount, TrackerClient
from autoglm_tvm.targets.config_folder import config_root
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.locked_file import locked, write_atomically

DEFAULT_ADDRESS = "127.0.0.1:9190"
_MODULE = "autoglm_tvm.rpc.tracker"
_STOP_TIMEOUT_S = 30
_STATUS_TIMEOUT_S = 20
# Field of /proc/PID/stat, counted from the one behind the name.
_START_TIME = 19


@dataclass(frozen=True)
class BackgroundTracker:
    """The tracker that `start_background` started.

    Attributes
    ----------
    pid, start_time
        Its process; the kernel's start time tells it from a later one of the same number.
    address
        ``HOST:PORT``.
    log
        The file with what it says.
    """

    pid: int
    start_time: int
    address: str
    log: str

    @property
    def runs(self) -> bool:
        """Whether this very process lives."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return _MODULE.encode() in words and _start_time(self.pid) == self.start_time


@dataclass(frozen=True)
class TrackerStatus:
    """A tracker and its devices.

    Attributes
    ----------
    address
        ``HOST:PORT``.
    pid
        Its process, where we started it in the background; else None.
    devices
        Connected and free devices by key.
    """

    address: str
    pid: int | None
    devices: dict[str, DeviceCount]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def start_background(host: str = "127.0.0.1", port: int = 9190) -> BackgroundTracker:
    """Start a tracker that outlives this process.

    Raises
    ------
    UserInputError
        One of ours runs already.
    MissingToolError
        It cannot listen there.
    """
    with locked(_state_path()):
        running = background_tracker()
        if running is not None:
            raise UserInputError(
                f"a tracker runs already at {running.address} (process {running.pid})",
                hint="use it, or stop it: autoglm-tvm tracker stop",
            )
        log = config_root() / "tracker.log"
        process = start_tracker(host, port, log=log)
        pid = process.process.pid
        if process.process.stdout is not None:
            process.process.stdout.close()
        started = BackgroundTracker(pid, _start_time(pid) or 0, process.address, str(log))
        write_atomically(_state_path(), json.dumps(asdict(started)) + "\n")
    return started


def background_tracker() -> BackgroundTracker | None:
    """Return the tracker that runs in the background, None where there is none."""
    try:
        found = BackgroundTracker(**json.loads(_state_path().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.runs else None


def stop_background() -> BackgroundTracker:
    """End the tracker in the background and wait until it is gone; return what it was.

    Raises
    ------
    UserInputError
        None of ours runs.
    MissingToolError
        It does not end.
    """
    with locked(_state_path()):
        running = background_tracker()
        if running is None:
            raise UserInputError(
                "no tracker runs in the background",
                hint="one in a terminal ends with Ctrl-C; start one: "
                "autoglm-tvm tracker start --background",
            )
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        number = signal.SIGTERM
        while running.runs:
            if time.monotonic() > deadline:
                raise MissingToolError(
                    f"the tracker (process {running.pid}) does not end",
                    hint=f"see what it waits for: ps -o pid,stat,wchan,cmd -p {running.pid}",
                )
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, number)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(running.pid, os.WNOHANG)  # it may be a child of this very process
            time.sleep(0.1)
            if time.monotonic() > deadline - _STOP_TIMEOUT_S / 2:
                number = signal.SIGKILL
        _state_path().unlink(missing_ok=True)
    return running


def default_tracker() -> str:
    """Return the address of the tracker in the background, else the one that trackers start at."""
    running = background_tracker()
    return running.address if running is not None else DEFAULT_ADDRESS


def tracker_status(address: str | None = None) -> TrackerStatus:
    """Ask a tracker, by default `default_tracker`, for its devices.

    Raises
    ------
    UserInputError
        The address is malformed.
    MissingToolError
        No tracker answers there.
    """
    running = background_tracker()
    wanted = address or default_tracker()
    with TrackerClient(wanted, _STATUS_TIMEOUT_S) as client:
        devices = client.devices()
    ours = running is not None and running.address == wanted
    return TrackerStatus(wanted, running.pid if running and ours else None, devices)


def _state_path() -> Path:
    return config_root() / "tracker.json"


def _start_time(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[_START_TIME])
