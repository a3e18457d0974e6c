"""A device server, and a tracker if it needs one, as children of this process."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from autoglm_tvm.rpc.device_build import EXECUTABLE
from autoglm_tvm.rpc.process_group import stop_group
from autoglm_tvm.rpc.tracker import TrackerProcess, start_tracker
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError

_START_TIMEOUT_S = 180


class DeviceProcess:
    """A device server, at a tracker of its own or at one that runs already; a context manager.

    Parameters
    ----------
    server
        The folder that `build_device_server` returned.
    key
        The device's key at the tracker; devices of one tracker may share one.
    runner
        What stands before the server on the command line: nothing, or an emulator.
    options
        More options of the server.
    tracker
        ``HOST:PORT`` of a tracker that somebody else runs; without, a new one that ends with us.
    """

    def __init__(
        self,
        server: Path,
        key: str,
        runner: list[str] | None = None,
        options: tuple[str, ...] = (),
        tracker: str | None = None,
    ) -> None:
        self.key = key
        self._server = server
        self._runner = runner or []
        self._options = options
        self._given_tracker = tracker
        self._tracker: TrackerProcess | None = None
        self._process: subprocess.Popen[str] | None = None
        self._log_start = 0
        self.folder = Path()
        # Each child leads a process group of its own; a test can see that nobody is left in them.
        self.groups: list[int] = []

    @property
    def tracker(self) -> str:
        """``HOST:PORT`` of the tracker."""
        if self._given_tracker is not None:
            return self._given_tracker
        assert self._tracker is not None
        return self._tracker.address

    @property
    def log(self) -> str:
        """What the server has said so far."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def _log_since_start(self) -> str:
        return self.log[self._log_start :]

    @property
    def session_folders(self) -> list[Path]:
        """Folders of the sessions that are open."""
        return list(self.folder.glob("autoglm-session-*"))

    def __enter__(self) -> DeviceProcess:
        self.folder = Path(tempfile.mkdtemp(prefix="autoglm-device-"))
        try:
            if self._given_tracker is None:
                self.start_tracker()
            self.start_server()
            self.wait_until_registered()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start_tracker(self) -> None:
        """Start a tracker of our own, on the port that it had before if there was one."""
        port = self._tracker.port if self._tracker else None
        tracker = start_tracker(port=port)
        self._tracker = tracker
        self.groups.append(tracker.process.pid)

    def stop_tracker(self) -> None:
        """Kill our own tracker."""
        if self._tracker is not None:
            self._tracker.stop()

    def start_server(self) -> None:
        """Start the server."""
        first = 9090 + int(time.monotonic() * 1000) % 10000
        command = [
            *[*self._runner, str(self._server / EXECUTABLE), "--tracker", self.tracker],
            *["--key", self.key, "--port", str(first), "--port-end", str(first + 1000)],
            *["--work-dir", str(self.folder), "--exit-with-parent", *self._options],
        ]
        self._log_start = len(self.log)
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.groups.append(self._process.pid)

    @property
    def server(self) -> subprocess.Popen[str]:
        """The server's process."""
        assert self._process is not None
        return self._process

    def wait_until_registered(self) -> None:
        """Wait until the tracker has the device to lend.

        Raises
        ------
        MissingToolError
            The server ended, or does not register in time.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                break
            with TrackerClient(self.tracker, timeout_s=60) as client:
                count = client.devices().get(self.key)
            # The tracker counts other devices of this key as well.
            if count is not None and count.free > 0 and "registered as" in self._log_since_start:
                return
            time.sleep(0.05)
        raise MissingToolError(f"the device server did not register; its log says:\n{self.log}")

    def stop(self) -> None:
        """End server and tracker with all that they started, and remove the folder."""
        try:
            if self._process is not None:
                stop_group(self._process)
        finally:
            self.stop_tracker()
            shutil.rmtree(self.folder)
