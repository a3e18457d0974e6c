"""One phone: its shell, files and tunnels."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.rpc.adb.client import ListedPhone, list_phones, run_adb, try_adb
from autoglm_tvm.rpc.adb.errors import CABLE_HINT, explain_adb, explain_state
from autoglm_tvm.rpc.names import check_serial
from autoglm_tvm.targets.errors import MissingToolError, UserInputError

# The slowest that a phone on USB 2, or on Wi-Fi, may take files in.
_BYTES_PER_S = 500_000
_START_S = 30
# States of a phone that was just plugged in, and how long they may take.
_PASSING = ("offline", "authorizing", "connecting")
_SETTLE_S = 5
_POLL_S = 0.3


@dataclass(frozen=True)
class Phone:
    """A phone that adb can use. Every method raises `MissingToolError` when it is gone."""

    serial: str

    def shell(self, command: str, *, doing: str, timeout_s: float = 30) -> str:
        """Run a command line in the phone's shell and return its output.

        Raises
        ------
        MissingToolError
            It fails, or does not end in time.
        """
        done = self.try_shell(command, doing=doing, timeout_s=timeout_s)
        if done.returncode != 0:
            raise explain_adb(done.stderr + "\n" + done.stdout, doing, self.serial)
        return done.stdout

    def try_shell(
        self, command: str, *, doing: str, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """As `shell`, for a command whose exit code means something."""
        return try_adb(["shell", command], doing=doing, timeout_s=timeout_s, serial=self.serial)

    def push(self, files: Sequence[Path], folder: str) -> None:
        """Copy files into a folder of the phone, which is made.

        Raises
        ------
        MissingToolError
            The phone's storage is full, or the copy takes longer than the slowest cable.
        """
        size = sum(path.stat().st_size for path in files)
        doing = f"copying {len(files)} files to {folder}"
        self.shell(f"mkdir -p {shlex.quote(folder)}", doing=doing)
        run_adb(
            ["push", *(str(path) for path in files), f"{folder}/"],
            doing=doing,
            timeout_s=_START_S + size / _BYTES_PER_S,
            serial=self.serial,
        )

    def forward(self, port: int) -> None:
        """Let port ``port`` of this machine (loopback) lead to the same port of the phone."""
        spec = f"tcp:{port}"
        run_adb(["forward", spec, spec], doing=f"forwarding port {port}", serial=self.serial)

    def has_forward(self, port: int) -> bool:
        """Whether `forward` is in force."""
        listed = run_adb(["forward", "--list"], doing="listing forwards", serial=self.serial)
        return [self.serial, f"tcp:{port}", f"tcp:{port}"] in _rows(listed)

    def remove_forward(self, port: int) -> bool:
        """Undo `forward`; False when there is none."""
        arguments = ["forward", "--remove", f"tcp:{port}"]
        done = try_adb(arguments, doing="removing a forward", serial=self.serial)
        return done.returncode == 0

    def reverse(self, port: int) -> None:
        """Let the phone's port ``port`` (loopback) lead to the same port of this machine."""
        spec = f"tcp:{port}"
        run_adb(["reverse", spec, spec], doing=f"reversing port {port}", serial=self.serial)

    def has_reverse(self, port: int) -> bool:
        """Whether `reverse` is in force."""
        listed = run_adb(["reverse", "--list"], doing="listing reverses", serial=self.serial)
        return [f"tcp:{port}", f"tcp:{port}"] in [row[1:] for row in _rows(listed)]

    def remove_reverse(self, port: int) -> bool:
        """Undo `reverse`; False when there is none."""
        arguments = ["reverse", "--remove", f"tcp:{port}"]
        done = try_adb(arguments, doing="removing a reverse", serial=self.serial)
        return done.returncode == 0

    def hashes(self, folder: str) -> Mapping[str, str]:
        """Return a hash by name of the files in a folder; empty where there is no folder.

        SHA-256; MD5 from a phone that cannot do better (Android 7).
        """
        command = (
            f"cd {shlex.quote(folder)} 2>/dev/null && "
            "{ sha256sum * 2>/dev/null || md5sum * 2>/dev/null; }"
        )
        done = self.try_shell(command, doing=f"looking at {folder}", timeout_s=120)
        rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
        return {row[1].lstrip("*"): row[0] for row in rows if len(row) == 2}


def find_phone(serial: str | None) -> Phone:
    """Return the phone of this serial, or the only one that is connected.

    Raises
    ------
    UserInputError
        Several phones are connected and none is named, or there is none of this serial.
    MissingToolError
        adb does not work, no phone is connected, or it cannot be used yet.
    """
    if serial is not None:
        check_serial(serial)
    deadline = time.monotonic() + _SETTLE_S
    while (found := _choose(serial)).state in _PASSING and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if found.state != "device":
        raise explain_state(found.state, found.serial)
    return Phone(found.serial)


def _choose(serial: str | None) -> ListedPhone:
    """Return the phone of this serial, or the only one, in whatever state it is."""
    phones = list_phones()
    if not phones:
        raise MissingToolError("no phone is connected", hint=CABLE_HINT)
    wanted = [phone for phone in phones if phone.serial == serial] if serial else phones
    listed = ", ".join(f"{phone.serial} ({phone.state})" for phone in phones)
    if not wanted:
        raise UserInputError(
            f"no phone of serial {serial!r} is connected",
            where="--serial",
            hint=f"connected are: {listed}",
        )
    if len(wanted) > 1:
        raise UserInputError(
            f"{len(wanted)} phones are connected",
            hint=f"name one of them with --serial: {listed}",
        )
    return wanted[0]


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]
