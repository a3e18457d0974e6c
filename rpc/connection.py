"""Deadlines for calls to a device.

TVM's client waits for a device's answer for ever and does not show its socket. So we find the
socket among the process's own, and shut it down when time is up: the waiting call then fails.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError


class Connection:
    """A second handle on the TCP connection to a device, only to break it.

    Parameters
    ----------
    host, port
        Where the device's server listens, as the tracker says.
    """

    def __init__(self, host: str, port: int) -> None:
        self._port = port
        self._addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, port)}
        self._before = _open_sockets()
        self._socket: socket.socket | None = None
        self.expired = False

    def found(self) -> None:
        """Take hold of the socket, after the client has connected.

        Raises
        ------
        MissingToolError
            It is not to be found, so that no call to the device could ever be broken off.
        """
        self._socket = self._find()
        if self._socket is None:
            raise MissingToolError(
                "cannot watch the connection to the device", hint="use a Linux or macOS machine"
            )

    def close(self) -> None:
        """Let go of the handle and the connection."""
        if self._socket is not None:
            _shut_down(self._socket)
            self._socket = None

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Break the connection if the block takes longer than ``seconds``; sets ``expired``."""
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        device = self._socket or self._find()
        self._socket = None
        if device is not None:
            _shut_down(device)

    def _find(self) -> socket.socket | None:
        # By inode, because a number that was just closed may be given to the new socket.
        for inode, fd in _open_sockets().items():
            if inode in self._before:
                continue
            with contextlib.suppress(OSError):
                candidate = socket.socket(fileno=os.dup(fd))
                if self._is_ours(candidate):
                    return candidate
                candidate.close()
        return None

    def _is_ours(self, candidate: socket.socket) -> bool:
        try:
            host, port = candidate.getpeername()[:2]
        except (OSError, ValueError):
            return False
        return port == self._port and host in self._addresses


def _shut_down(device: socket.socket) -> None:
    with contextlib.suppress(OSError):
        device.shutdown(socket.SHUT_RDWR)
    device.close()


def _open_sockets() -> dict[int, int]:
    """Return inode and file descriptor of every socket of this process."""
    found = {}
    for path in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):
            state = os.fstat(int(path.name))
            if stat.S_ISSOCK(state.st_mode):
                found[state.st_ino] = int(path.name)
    return found
