"""`device emulate`: an emulated phone in the foreground."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from autoglm_tvm.rpc.emulation.emulated_phone import QEMU, EmulatedPhone, require_tools
from autoglm_tvm.rpc.names import check_key
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.near import did_you_mean

_POLL_S = 0.5


def emulate_until_interrupted(
    cpu: str, key: str, tracker: str | None, started: Callable[[str], None]
) -> None:
    """Run an emulated arm64 phone until Ctrl-C.

    Parameters
    ----------
    cpu
        As qemu calls it.
    key
        The device's key.
    tracker
        ``HOST:PORT`` of a tracker that runs already, or None for one that ends with the phone.
    started
        Called with the tracker's address when the phone is registered.

    Raises
    ------
    UserInputError
        qemu does not know the CPU, or key or address are malformed.
    MissingToolError
        A Debian package or the tracker is missing, or the phone's server ended.
    """
    check_key(key)
    require_tools()
    known = qemu_cpus()
    if cpu not in known:
        raise UserInputError(
            f"qemu emulates no CPU {cpu!r}{did_you_mean(cpu, known)}",
            where="--cpu",
            hint=f"choose from: {', '.join(known)}",
        )
    if tracker is not None:
        with TrackerClient(tracker, timeout_s=20) as client:
            client.devices()
    with EmulatedPhone(cpu, key, tracker=tracker) as phone:
        started(phone.tracker)
        try:
            while phone.server.poll() is None:
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            return
        raise MissingToolError(
            f"the emulated phone's server ended; its log says:\n{phone.log}",
            hint="start it again, and report what you did",
        )


def qemu_cpus() -> list[str]:
    """Return the CPUs that this qemu emulates, as it calls them."""
    done = subprocess.run(
        [QEMU, "-cpu", "help"], capture_output=True, text=True, timeout=60, check=False
    )
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
