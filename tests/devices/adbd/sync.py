"""adb's file transfer (SYNC.TXT in the sources of Android's adb), device side."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from tests.devices.adbd.protocol import Stream

_CHUNK = 64 * 1024
# error, dev, ino, mode, nlink, uid, gid, size, atime, mtime, ctime
_STAT_V2 = struct.Struct("<IQQIIIIQqqq")
_NO_SUCH_FILE = 2


def serve_sync(stream: Stream, local: Callable[[str], Path]) -> None:
    """Answer requests until QUIT.

    Parameters
    ----------
    stream
        The ``sync:`` stream.
    local
        Where a path of the phone lies on this machine.
    """
    while True:
        code, size = _head(stream)
        if code == "QUIT":
            return
        path = stream.read(size).decode()
        if code in ("STAT", "LSTA"):
            stream.write(b"STAT" + struct.pack("<III", *_stat_v1(local(path))))
        elif code in ("STA2", "LST2"):
            stream.write(code.encode() + _stat_v2(local(path)))
        elif code == "LIST":
            _list(stream, local(path))
        elif code == "SEND":
            _receive_file(stream, path, local)
        elif code == "RECV":
            _send_file(stream, local(path))
        else:
            _fail(stream, f"unknown request {code}")


def _head(stream: Stream) -> tuple[str, int]:
    code, size = struct.unpack("<4sI", stream.read(8))
    return code.decode(), size


def _stat_v1(path: Path) -> tuple[int, int, int]:
    try:
        found = path.lstat()
    except OSError:
        return 0, 0, 0
    return found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)


def _stat_v2(path: Path) -> bytes:
    try:
        s = path.stat()
    except OSError as error:
        return _STAT_V2.pack(error.errno or _NO_SUCH_FILE, *([0] * 10))
    times = (int(s.st_atime), int(s.st_mtime), int(s.st_ctime))
    ids = (s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size)
    return _STAT_V2.pack(0, *ids, *times)


def _list(stream: Stream, folder: Path) -> None:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = path.name.encode()
        stream.write(b"DENT" + struct.pack("<4I", *_stat_v1(path), len(name)) + name)
    stream.write(b"DONE" + bytes(16))


def _receive_file(stream: Stream, request: str, local: Callable[[str], Path]) -> None:
    path, _, mode = request.rpartition(",")
    target = local(path)
    content = bytearray()
    while True:
        code, size = _head(stream)
        if code == "DONE":
            break
        content += stream.read(size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # As adbd does: a program that runs keeps its old file.
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        target.chmod(int(mode) & 0o777)
        os.utime(target, (size, size))
    except OSError as error:
        _fail(stream, f"couldn't create file: {error.strerror}")
        return
    stream.write(b"OKAY" + bytes(4))


def _send_file(stream: Stream, path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        _fail(stream, f"open failed: {error.strerror}")
        return
    for start in range(0, len(content), _CHUNK):
        piece = content[start : start + _CHUNK]
        stream.write(b"DATA" + struct.pack("<I", len(piece)) + piece)
    stream.write(b"DONE" + bytes(4))


def _fail(stream: Stream, message: str) -> None:
    stream.write(b"FAIL" + struct.pack("<I", len(message)) + message.encode())
