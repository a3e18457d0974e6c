"""This machine as a device, for tuning without a phone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from autoglm_tvm.rpc.device_build import build_device_server
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess


@dataclass(frozen=True)
class LocalDevice:
    """Where to find it: what `DevicePool` and `connect` take."""

    tracker: str
    key: str


@contextlib.contextmanager
def local_device(cpus: str = "") -> Iterator[LocalDevice]:
    """Start a tracker on a free loopback port, and the device server at it; both end with us.

    Parameters
    ----------
    cpus
        Which CPUs its sessions use, as in ``0-3``; empty: all.

    Raises
    ------
    MissingToolError
        The compiler that builds the server is missing.
    """
    options = ("--cpus", cpus) if cpus else ()
    key = f"local-{os.getpid()}"
    with DeviceProcess(build_device_server("host"), key, options=options) as device:
        yield LocalDevice(device.tracker, device.key)
