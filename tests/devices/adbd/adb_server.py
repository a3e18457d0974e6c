"""An adb server of a test's own: port, keys and phones, apart from those of the user."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoglm_tvm.rpc.adb.client import find_adb
from autoglm_tvm.rpc.cache import cache_root
from autoglm_tvm.rpc.process_group import stop_group
from tests.devices.adbd.phone import SimulatedPhone


class AdbServer:
    """The real adb, on a port of its own."""

    def __init__(self, program: str) -> None:
        self._program = program

    def run(self, *arguments: str) -> str:
        """Run the client and return what it prints."""
        done = subprocess.run(
            [self._program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    def connect(self, phone: SimulatedPhone) -> str:
        """Let it connect to a phone, anew if it was connected before."""
        self.run("disconnect", phone.serial)
        return self.run("connect", phone.serial)


@contextmanager
def own_adb_server(
    folder: Path, program: str = "adb", *, started: bool = True
) -> Iterator[AdbServer]:
    """Give this process, and what it starts, an adb server that nobody else uses.

    Parameters
    ----------
    folder
        For its files.
    program
        Which adb.
    started
        Whether it runs already; else the first client starts it, in the background.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    home = folder / "home"
    home.mkdir()
    find_adb.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "ANDROID_ADB_SERVER_PORT": str(port),
            # Its usual place is in the home folder, and what is in it takes minutes to make.
            "AUTOGLM_TVM_CACHE": str(cache_root()),
            "HOME": str(home),
            "ANDROID_USER_HOME": str(home / ".android"),
            "TMPDIR": str(folder),
            "ADB_MDNS": "0",
            "ADB_MDNS_AUTO_CONNECT": "",
            # No search for Android's emulators on this machine's ports.
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
            "ADBUTILS_ADB_PATH": program if os.sep in program else "",
        }.items():
            patch.setenv(name, value)
        server = AdbServer(program)
        process = _start(program, folder / "server.log") if started else None
        try:
            if started:
                _wait_for(port)
            yield server
        finally:
            server.run("kill-server")
            if process is not None:
                stop_group(process)
            find_adb.cache_clear()


def _start(program: str, log: Path) -> subprocess.Popen[str]:
    """Start the server as a child that dies with us, even if we are killed."""
    command = ["setpriv", "--pdeathsig", "KILL", program, "nodaemon", "server"]
    with log.open("w") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            text=True,
            start_new_session=True,
        )


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "adb's server does not start"
            time.sleep(0.05)
