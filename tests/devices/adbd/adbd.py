"""The process that is a simulated phone's adbd: takes adb's connections and serves its requests."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.devices.adbd.protocol import Connection, Stream
from tests.devices.adbd.shell import serve_shell
from tests.devices.adbd.sync import serve_sync
from tests.devices.adbd.tunnels import ReversedPorts, join

# What is the phone's own; all else (/bin, /proc/PID) is this machine's.
_OWN_PATHS = re.compile(
    r"(?<![\w./-])(/data/local/tmp|/system/vendor|/vendor|/proc/cpuinfo|/proc/meminfo|/sys)(?=\W|$)"
)
_BANNER = (
    "device::ro.product.name=testphone;ro.product.model=testphone;"
    "features=shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
)


def mapped(root: Path, text: str) -> str:
    """Return a path or command of the phone with this machine's paths in it."""
    return _OWN_PATHS.sub(lambda match: f"{root}{match[1]}", text)


def processes_of(mark: str) -> list[int]:
    """Return the ids of the programs that run on the phone with this mark, adbd included."""
    wanted = f"PHONE_MARK={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


class Adbd:
    """Serves adb's requests.

    Parameters
    ----------
    root
        The phone's file system.
    address
        The phone's loopback address.
    log
        A file to which each command for the shell is added.
    """

    def __init__(self, root: Path, address: str, log: Path) -> None:
        self._root = root
        self._address = address
        self._log = log
        self._reversed = ReversedPorts(address)

    def connected(self, client: socket.socket, *, authorized: bool) -> None:
        """Serve one adb server until it leaves."""
        Connection(client, _BANNER, authorized, self._serve).serve()

    def _note(self, command: str) -> None:
        with self._log.open("a") as file:
            file.write(command + "\n")

    def _serve(self, stream: Stream, service: str) -> None:
        name, _, rest = service.partition(":")
        kind = name.partition(",")[0]
        if kind in ("shell", "exec"):
            self._shell(stream, rest, v2="v2" in name.split(","))
        elif kind == "sync":
            stream.connection.accept(stream)
            serve_sync(stream, lambda path: Path(mapped(self._root, path)))
        elif kind == "reverse":
            stream.connection.accept(stream)
            stream.write(self._reverse(stream.connection, rest))
        elif kind == "tcp":
            # A port that nobody listens on: the stream is refused.
            peer = socket.create_connection((self._address, int(rest)), timeout=10)
            peer.settimeout(None)
            stream.connection.accept(stream)
            join(stream, peer)

    def _shell(self, stream: Stream, command: str, *, v2: bool) -> None:
        self._note(command)
        stream.connection.accept(stream)

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                ["/bin/sh", "-c", mapped(self._root, command)],
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )

        def cleaned(data: bytes) -> bytes:
            return data.replace(str(self._root).encode(), b"")

        serve_shell(stream, start, cleaned, v2=v2)

    def _reverse(self, connection: Connection, request: str) -> bytes:
        """Do a ``reverse:`` request and return its answer."""
        verb, _, rest = request.partition(":")
        if verb == "forward":
            remote, _, local = rest.removeprefix("norebind:").partition(";")
            try:
                self._reversed.add(remote, local, connection)
            except OSError as error:
                return b"FAIL" + _counted(f"cannot bind listener: {error.strerror}")
            return b"OKAY"
        if verb == "killforward":
            found = self._reversed.remove(rest)
            return b"OKAY" if found else b"FAIL" + _counted(f"listener '{rest}' not found")
        if verb == "killforward-all":
            self._reversed.remove_all()
            return b"OKAY"
        return _counted(self._reversed.listed())


def _counted(text: str) -> bytes:
    return f"{len(text):04x}{text}".encode()


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("address")
    parser.add_argument("log", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--unauthorized", action="store_true")
    parser.add_argument("--mute", action="store_true")
    options = parser.parse_args()
    adbd = Adbd(options.root, options.address, options.log)
    listener = socket.create_server(("127.0.0.1", options.port))
    print(listener.getsockname()[1], flush=True)
    silent: list[socket.socket] = []

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            if options.mute:
                silent.append(client)
                continue
            threading.Thread(
                target=adbd.connected,
                args=(client,),
                kwargs={"authorized": not options.unauthorized},
                daemon=True,
            ).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    # Whoever started us has ended.
    for process in processes_of(os.environ["PHONE_MARK"]):
        if process != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
