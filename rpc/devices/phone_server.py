"""The device server on a phone: put there, started so that it outlives adb's shell, stopped."""

from __future__ import annotations

import hashlib
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.rpc.adb.phone import Phone
from autoglm_tvm.rpc.device_build import EXECUTABLE
from autoglm_tvm.rpc.devices.folder import device_folder
from autoglm_tvm.rpc.devices.server_files import ServerFiles
from autoglm_tvm.targets.errors import MissingToolError

_STOP_TIMEOUT_S = 20
_LISTEN_TIMEOUT_S = 60
_POLL_S = 0.2
_MD5_LENGTH = 32


# A session of its own, because adb's server ends the group of a shell that it loses; and the shell
# that starts it stays until that session is there. A server that was killed left its clients'
# files in the folder for work.
_START = """
rm -rf {folder}/work {pid}
mkdir -p {folder}/work && cd {folder}/bin || exit 1
[ ! -f {log} ] || mv -f {log} {log}.old
export TMPDIR={folder}/work
if command -v setsid >/dev/null; then START=setsid; else START=nohup; fi
$START sh -c {command} </dev/null >{log} 2>&1 &
N=0
while [ ! -s {pid} ] && [ $N -lt 50 ]; do sleep 0.1; N=$((N+1)); done
"""


@dataclass(frozen=True)
class Pushed:
    """What had to be copied: names of the files, and their size in bytes."""

    files: tuple[str, ...]
    size: int


class PhoneServer:
    """The server of one device on its phone; methods raise `MissingToolError` when it is gone."""

    def __init__(self, phone: Phone, key: str) -> None:
        self._phone = phone
        self._key = key
        self._folder = device_folder(key)

    def push(self, files: ServerFiles, free_mib: int = 0) -> Pushed:
        """Copy the files that the phone lacks or has in another version; stops a running server.

        Parameters
        ----------
        files
            What shall be there.
        free_mib
            The phone's free storage in MiB; 0 where it is not known.

        Raises
        ------
        MissingToolError
            The phone's storage is full, or a file arrives damaged.
        """
        changed = self._missing(files)
        size = sum(path.stat().st_size for path in changed)
        if 0 < free_mib < size / 2**20:
            raise MissingToolError(
                f"the phone has {free_mib} MiB of storage left, and the server needs "
                f"{size / 2**20:.0f}",
                where=f"phone {self._phone.serial}",
                hint="free some of the phone's storage",
            )
        if changed:
            # A library that is written over while it is mapped crashes whoever uses it.
            self.stop()
            self._phone.push(changed, self._bin)
            names = " ".join(shlex.quote(path.name) for path in changed)
            self._phone.shell(
                f"cd {self._bin} && chmod 755 {names}", doing="making the server executable"
            )
        if changed and (damaged := self._missing(files)):
            raise MissingToolError(
                f"{damaged[0].name} did not arrive whole on the phone",
                where=f"phone {self._phone.serial}",
                hint="try another cable, and see that its storage is not full",
            )
        return Pushed(tuple(path.name for path in changed), size)

    def start(self, files: ServerFiles, tracker_port: int, port: int) -> None:
        """Start the server and wait until it listens.

        Raises
        ------
        MissingToolError
            It ends at once; the message has what it said.
        """
        options = [
            *["--tracker", f"127.0.0.1:{tracker_port}", "--key", self._key, "--host", "127.0.0.1"],
            *["--port", str(port), "--port-end", str(port + 1), "--custom-addr", "127.0.0.1"],
            *["--work-dir", f"{self._folder}/work"],
        ]
        command = f"echo $$ > {self._pid_file}; {files.command} {' '.join(options)}"
        script = _START.format(
            folder=self._folder, log=self._log, pid=self._pid_file, command=shlex.quote(command)
        )
        self._phone.shell(script, doing="starting the device server")
        self._wait_until_it_listens(files.libc)

    def _wait_until_it_listens(self, libc: str) -> None:
        started = time.monotonic()
        while "listening on" not in self.log():
            waited = time.monotonic() - started
            ended = self.process() is None
            # It may have listened, and said so, between the two looks.
            if (ended or waited > _LISTEN_TIMEOUT_S) and "listening on" not in (log := self.log()):
                said = (log.strip().splitlines() or ["it says nothing"])[-1]
                raise MissingToolError(
                    f"the device server does not start on the phone: {said}",
                    where=f"phone {self._phone.serial}, {self._log}",
                    hint=f"try the other C library: autoglm-tvm device add --libc "
                    f"{'glibc' if libc == 'android' else 'android'}",
                )
            time.sleep(_POLL_S)

    def process(self) -> int | None:
        """Return the id of the running server, None where there is none."""
        # A number in a file may have been given to another process meanwhile.
        done = self._phone.try_shell(
            f'read -r PID < {self._pid_file} && cat /proc/$PID/cmdline && echo " $PID"',
            doing="looking for the device server",
        )
        text = done.stdout.replace("\0", " ")
        words = text.split()
        ours = (
            done.returncode == 0
            and f"--key {self._key} " in text
            and any(word.endswith(EXECUTABLE) for word in words)
        )
        return int(words[-1]) if ours and words[-1].isdecimal() else None

    def stop(self) -> bool:
        """End the server and its sessions; False when none was running.

        Raises
        ------
        MissingToolError
            It does not die.
        """
        if self.process() is None:
            return False
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        signal = "TERM"
        while (pid := self.process()) is not None:
            if time.monotonic() > deadline:
                raise MissingToolError(
                    f"the device server (process {pid}) does not end",
                    where=f"phone {self._phone.serial}",
                    hint="restart the phone",
                )
            # The group holds its sessions; TERM lets the server end them by itself.
            group = f"kill -{signal} -{pid} 2>/dev/null || " if signal == "KILL" else ""
            self._phone.try_shell(f"{group}kill -{signal} {pid}", doing="stopping the server")
            time.sleep(_POLL_S)
            if time.monotonic() > deadline - _STOP_TIMEOUT_S / 2:
                signal = "KILL"
        return True

    def log(self) -> str:
        """Return the last lines that the server said."""
        done = self._phone.try_shell(f"tail -n 50 {self._log}", doing="reading the server's log")
        return done.stdout if done.returncode == 0 else ""

    def remove(self) -> None:
        """Delete everything of ours from the phone that belongs to this device."""
        parent = self._folder.rpartition("/")[0]
        # Other devices' folders keep the parent.
        self._phone.shell(
            f"rm -rf {self._folder} && {{ rmdir {parent} 2>/dev/null || true; }}",
            doing=f"deleting {self._folder}",
        )

    def _missing(self, files: ServerFiles) -> list[Path]:
        """Return the files that the phone has not, or has in another version."""
        there = self._phone.hashes(self._bin)
        return [path for path in files.files if not _has_hash(path, there.get(path.name, ""))]

    @property
    def _bin(self) -> str:
        return f"{self._folder}/bin"

    @property
    def _log(self) -> str:
        return f"{self._folder}/server.log"

    @property
    def _pid_file(self) -> str:
        return f"{self._folder}/server.pid"


def _has_hash(path: Path, digest: str) -> bool:
    """Whether a file has a hash, of the kind that its length tells."""
    if not digest:
        return False
    kind = "md5" if len(digest) == _MD5_LENGTH else "sha256"
    return hashlib.new(kind, path.read_bytes()).hexdigest() == digest
