"""Run the adb client, with a deadline on every call and one clear message when it fails.

The client and not a library that speaks its protocol: it starts adb's server, knows every version
of it, and does by hand what we do. One comes with the Python package ``adbutils``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from autoglm_tvm.rpc.adb.errors import explain_adb
from autoglm_tvm.targets.errors import MissingToolError

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class ListedPhone:
    """A phone as ``adb devices`` lists it.

    Attributes
    ----------
    serial
        Its serial number, or ``HOST:PORT`` over the network.
    state
        ``device`` when it can be used; ``unauthorized``, ``offline``, ``no permissions ...``.
    """

    serial: str
    state: str


@lru_cache(maxsize=1)
def find_adb() -> str:
    """Return the path of the adb client: the one on PATH, else the one that adbutils brings.

    Raises
    ------
    MissingToolError
        There is none.
    """
    # 0.1 s, and only commands that talk to a phone need it.
    from adbutils import adb_path
    from adbutils.errors import AdbError

    try:
        return str(adb_path())
    except AdbError:
        raise MissingToolError(
            "the program adb is missing",
            hint="apt-get install adb, or put the platform-tools of the Android SDK on PATH",
        ) from None


def run_adb(
    arguments: Sequence[str], *, doing: str, timeout_s: float = _TIMEOUT_S, serial: str = ""
) -> str:
    """Run ``adb [-s SERIAL] ARGUMENTS`` and return what it prints; starts adb's server.

    Parameters
    ----------
    arguments
        The command and its arguments.
    doing
        What it is for, as in "adb failed while ...".
    timeout_s
        Deadline of the call in seconds.
    serial
        The phone; empty for commands that are about none.

    Raises
    ------
    MissingToolError
        There is no adb, the phone is not there or not ready, or the command failed.
    """
    done = try_adb(arguments, doing=doing, timeout_s=timeout_s, serial=serial)
    if done.returncode != 0:
        raise explain_adb(done.stderr + "\n" + done.stdout, doing, serial)
    return done.stdout


def try_adb(
    arguments: Sequence[str], *, doing: str, timeout_s: float = _TIMEOUT_S, serial: str = ""
) -> subprocess.CompletedProcess[str]:
    """As `run_adb`, for a command whose exit code means something.

    Raises
    ------
    MissingToolError
        There is no adb, or it does not end in time.
    """
    command = [find_adb(), *(["-s", serial] if serial else []), *arguments]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingToolError(
            f"adb did not answer within {timeout_s:g} s while {doing}",
            where=serial and f"phone {serial}",
            hint="unlock the phone and plug it in again; then: adb kill-server",
        ) from None
    except OSError as error:
        find_adb.cache_clear()
        raise MissingToolError(
            f"cannot run {command[0]}: {error.strerror}", hint="apt-get install adb"
        ) from error


def list_phones() -> list[ListedPhone]:
    """Return the phones that adb sees, whatever their state.

    Raises
    ------
    MissingToolError
        adb, or its server, does not work here.
    """
    text = run_adb(["devices"], doing="looking for phones")
    rows = [line.split("\t", 1) for line in text.splitlines()[1:] if "\t" in line]
    return [ListedPhone(serial.strip(), state.strip()) for serial, state in rows]
