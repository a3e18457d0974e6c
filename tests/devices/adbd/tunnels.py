"""Ports: ``tcp:`` of the phone, and reversed ports that lead from the phone to the computer."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.devices.adbd.protocol import Connection, Stream, StreamClosedError


def join(stream: Stream, peer: socket.socket) -> None:
    """Copy in both directions until one side ends."""

    def from_peer() -> None:
        with contextlib.suppress(OSError, StreamClosedError):
            while data := peer.recv(64 * 1024):
                stream.write(data)
        stream.close()

    thread = threading.Thread(target=from_peer, daemon=True)
    thread.start()
    with contextlib.suppress(OSError, StreamClosedError):
        while True:
            peer.sendall(stream.read_some())
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    thread.join()
    peer.close()


class ReversedPorts:
    """The phone's ports that lead to the computer (``adb reverse``).

    Parameters
    ----------
    address
        The phone's loopback address.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._listeners: dict[str, tuple[socket.socket, str]] = {}

    def add(self, remote: str, local: str, connection: Connection) -> None:
        """Listen at ``remote`` (tcp:PORT) and open ``local`` for each that connects."""
        self.remove(remote)
        port = int(remote.removeprefix("tcp:"))
        listener = socket.create_server((self._address, port))
        self._listeners[remote] = (listener, local)
        threading.Thread(
            target=self._accept, args=(listener, local, connection), daemon=True
        ).start()

    def remove(self, remote: str) -> bool:
        """Stop listening; False where nobody did."""
        if remote not in self._listeners:
            return False
        listener, _ = self._listeners.pop(remote)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        return True

    def remove_all(self) -> None:
        """Stop listening everywhere."""
        for remote in list(self._listeners):
            self.remove(remote)

    def listed(self) -> str:
        """Return them as ``adb reverse --list`` prints them."""
        rows = [f"UsbFfs {remote} {local}\n" for remote, (_, local) in self._listeners.items()]
        return "".join(rows)

    @staticmethod
    def _accept(listener: socket.socket, local: str, connection: Connection) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(
                target=ReversedPorts._lead, args=(peer, local, connection), daemon=True
            ).start()

    @staticmethod
    def _lead(peer: socket.socket, local: str, connection: Connection) -> None:
        try:
            stream = connection.open(local)
        except StreamClosedError:
            peer.close()
            return
        join(stream, peer)
