"""adb's transport protocol (protocol.txt in the sources of Android's adb), device side."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

# From this version on, messages need no checksum.
VERSION = 0x01000001
MAX_DATA = 256 * 1024
_HEADER = struct.Struct("<6I")
_TOKEN, _PUBLIC_KEY = 1, 3


def _code(name: str) -> int:
    return int.from_bytes(name.encode(), "little")


CNXN, OPEN, OKAY, CLSE, WRTE, AUTH = map(_code, ("CNXN", "OPEN", "OKAY", "CLSE", "WRTE", "AUTH"))


class StreamClosedError(Exception):
    """The other side closed the stream, or the connection ended."""


@dataclass
class Stream:
    """One stream of a connection: a pipe in both directions."""

    connection: Connection
    local_id: int
    remote_id: int = 0
    inbox: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    _acknowledged: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _rest: bytes = b""
    closed: bool = False

    def write(self, data: bytes) -> None:
        """Send, piece by piece; each is acknowledged before the next."""
        for start in range(0, len(data), MAX_DATA):
            if self.closed:
                raise StreamClosedError
            piece = data[start : start + MAX_DATA]
            self.connection.send(WRTE, self.local_id, self.remote_id, piece)
            self._acknowledged.acquire()
            if self.closed:
                raise StreamClosedError

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        while len(self._rest) < size:
            self._rest += self.read_some()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def read_some(self) -> bytes:
        """Return what comes next."""
        data = self.inbox.get()
        if data is None:
            raise StreamClosedError
        return data

    def acknowledged(self, remote_id: int) -> None:
        """Note the other side's OKAY."""
        if self.remote_id == 0:
            self.remote_id = remote_id
        self._acknowledged.release()

    def wait_until_open(self) -> None:
        """Wait for the answer to our own OPEN."""
        self._acknowledged.acquire()
        if self.closed:
            raise StreamClosedError

    def end(self) -> None:
        """Wake up whoever waits on this stream."""
        self.closed = True
        self.inbox.put(None)
        self._acknowledged.release()

    def close(self) -> None:
        """Close it from our side."""
        if not self.closed:
            self.connection.send(CLSE, self.local_id, self.remote_id)
        self.connection.forget(self)


class Connection:
    """The connection of one adb server.

    Parameters
    ----------
    client
        Its socket.
    banner
        What the phone says of itself.
    authorized
        Whether it accepts the server's key.
    open_service
        Called in a thread of its own with each stream that the server opens, and its service.
    """

    def __init__(
        self,
        client: socket.socket,
        banner: str,
        authorized: bool,
        open_service: Callable[[Stream, str], None],
    ) -> None:
        self._socket = client
        self._banner = banner
        self._authorized = authorized
        self._open_service = open_service
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()
        self._next_id = 1

    def serve(self) -> None:
        """Read messages until the connection ends."""
        try:
            while True:
                self._handle(*self._receive())
        except (OSError, ConnectionError, struct.error):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the connection and wake everybody up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.end()

    def open(self, service: str) -> Stream:
        """Open a stream to the computer, as reversed ports do."""
        stream = self._new_stream()
        self.send(OPEN, stream.local_id, 0, service.encode() + b"\0")
        stream.wait_until_open()
        return stream

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        """Send one message; nothing happens when the connection has ended."""
        header = _HEADER.pack(command, first, second, len(data), 0, command ^ 0xFFFFFFFF)
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(header + data)

    def forget(self, stream: Stream) -> None:
        """Drop a stream."""
        with self._lock:
            self._streams.pop(stream.local_id, None)
        stream.end()

    def _new_stream(self) -> Stream:
        with self._lock:
            stream = Stream(self, self._next_id)
            self._streams[stream.local_id] = stream
            self._next_id += 1
        return stream

    def _receive(self) -> tuple[int, int, int, bytes]:
        command, first, second, size, _, magic = _HEADER.unpack(self._exactly(_HEADER.size))
        if magic != command ^ 0xFFFFFFFF:
            raise ConnectionError("not adb's protocol")
        return command, first, second, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN and self._authorized:
            self.send(CNXN, VERSION, MAX_DATA, self._banner.encode())
        elif command == CNXN or (command == AUTH and first != _PUBLIC_KEY):
            # No signature is good enough; with the public key in hand, the phone would ask.
            self.send(AUTH, _TOKEN, 0, b"x" * 20)
        elif command == OPEN:
            self._accept(first, data.rstrip(b"\0").decode())
        elif command in (OKAY, WRTE, CLSE):
            with self._lock:
                stream = self._streams.get(second)
            if stream is None:
                if command != CLSE:
                    self.send(CLSE, 0, first)
            elif command == OKAY:
                stream.acknowledged(first)
            elif command == WRTE:
                stream.inbox.put(data)
                self.send(OKAY, stream.local_id, stream.remote_id)
            else:
                self.forget(stream)

    def _accept(self, remote_id: int, service: str) -> None:
        stream = self._new_stream()
        stream.remote_id = remote_id

        def run() -> None:
            with contextlib.suppress(StreamClosedError, OSError):
                self._open_service(stream, service)
            stream.close()

        threading.Thread(target=run, daemon=True, name=f"adbd {service[:40]}").start()

    def accept(self, stream: Stream) -> None:
        """Tell the computer that its stream is open."""
        self.send(OKAY, stream.local_id, stream.remote_id)
