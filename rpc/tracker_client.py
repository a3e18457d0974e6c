"""Ask a tracker for its devices, with a deadline on every answer.

TVM's own ``TrackerSession.request`` waits for ever where no device of the key is registered. The
messages are those of ``tvm/rpc/tracker.py``: a length (int32, little endian) and JSON.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.targets.errors import MissingToolError, UserInputError

_MAGIC = 0x2F271
_MAX_MESSAGE = 1 << 20
_REQUEST = 4
_SUMMARY = 6
_SUCCESS = 0
_START_HINT = "start one with: autoglm-tvm tracker start --port"


@dataclass(frozen=True)
class DeviceCount:
    """How many devices have one key: all that are connected, and those that wait for work."""

    total: int
    free: int


@dataclass(frozen=True)
class DeviceAddress:
    """Where a device waits for us, and the word that proves the tracker has sent us."""

    host: str
    port: int
    match_key: str


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``.

    Raises
    ------
    UserInputError
        It is something else.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise UserInputError(
            f"{text!r} is no tracker address", hint="give HOST:PORT, for example 127.0.0.1:9190"
        )
    return host, int(port)


class TrackerClient:
    """One connection to a tracker; a context manager.

    Raises
    ------
    UserInputError
        The address is malformed.
    MissingToolError
        Nothing, or something else, listens there, or it does not answer in time. That goes for
        every method.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self._deadline = time.monotonic() + timeout_s
        host, port = parse_address(address)
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout_s)
        except OSError as error:
            raise MissingToolError(
                f"no tracker answers at {address} ({error.strerror or error})",
                hint=f"{_START_HINT} {port}",
            ) from error
        try:
            self._socket.sendall(struct.pack("<i", _MAGIC))
            (magic,) = struct.unpack("<i", self._receive(4))
            if magic != _MAGIC:
                raise ConnectionError("it speaks another protocol")
        except OSError as error:
            self._socket.close()
            raise MissingToolError(
                f"what listens at {address} is no TVM RPC tracker ({error})",
                hint=f"{_START_HINT} PORT",
            ) from error

    def __enter__(self) -> TrackerClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def devices(self) -> dict[str, DeviceCount]:
        """Return the keys of all connected devices."""
        summary = self._summary()
        total: dict[str, int] = {}
        for server in summary["server_info"]:
            key = server["key"].partition(":")[2]
            total[key] = total.get(key, 0) + 1
        queues = summary["queue_info"]
        return {
            key: DeviceCount(count, queues.get(key, {}).get("free", 0))
            for key, count in sorted(total.items())
        }

    def addresses(self, key: str) -> list[str]:
        """Return ``HOST:PORT`` of every connected device of ``key``, lent or free."""
        servers = self._summary()["server_info"]
        return [
            f"{server['addr'][0]}:{server['addr'][1]}"
            for server in servers
            if server["key"].partition(":")[2] == key
        ]

    def require(self, key: str) -> DeviceCount:
        """Return how many devices of ``key`` there are.

        Raises
        ------
        MissingToolError
            There is none; the message names the keys that there are.
        """
        devices = self.devices()
        if key not in devices:
            there = ", ".join(devices) or "none"
            raise MissingToolError(
                f"the tracker at {self.address} has no device of key {key!r}; "
                f"keys that it has: {there}",
                hint="name one of these with --key, or start the device's server with this key",
            )
        return devices[key]

    def request(self, key: str) -> DeviceAddress:
        """Wait for a free device of ``key`` and take it.

        Raises
        ------
        MissingToolError
            There is none of that key, or none comes free before the deadline.
        """
        total = self.require(key).total
        try:
            host, port, match_key = self._ask([_REQUEST, key, "", 1])
        except TimeoutError:
            raise MissingToolError(
                f"no device of key {key!r} came free in time ({total} connected, all busy)",
                where=f"tracker {self.address}",
                hint="wait for the other user, or connect a second device of this key",
            ) from None
        return DeviceAddress(host, port, match_key)

    def _summary(self) -> dict[str, Any]:
        try:
            return self._ask([_SUMMARY])
        except TimeoutError:
            raise MissingToolError(
                f"the tracker at {self.address} does not answer",
                hint="restart the tracker; devices register again by themselves",
            ) from None

    def _ask(self, request: list[Any]) -> Any:
        message = json.dumps(request).encode()
        try:
            self._socket.sendall(struct.pack("<i", len(message)) + message)
            (size,) = struct.unpack("<i", self._receive(4))
            if not 0 < size <= _MAX_MESSAGE:
                raise ConnectionError("a message of impossible length")
            answer = json.loads(self._receive(size))
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise MissingToolError(
                f"the connection to the tracker at {self.address} broke: {error}",
                hint="see whether the tracker still runs, and try again",
            ) from error
        if not isinstance(answer, list) or len(answer) != 2 or answer[0] != _SUCCESS:
            raise MissingToolError(f"the tracker at {self.address} answers {answer!r}")
        return answer[1]

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self._socket.settimeout(left)
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("it closed the connection")
            data += piece
        return data
