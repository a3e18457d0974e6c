"""What a device is, for records: its SoC or CPU, not where it happens to be plugged in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from autoglm_tvm.rpc.devices.registry import load_devices
from autoglm_tvm.rpc.measure.device_files import read_device, read_here
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.arm_cores import ArmCore

_CPUINFO = "/proc/cpuinfo"


def device_name(tracker: str, key: str) -> str:
    """Ask the registry of added phones, else the device itself.

    Raises
    ------
    MissingToolError
        There is no device of this key, or it does not answer.
    """
    for device in load_devices():
        if device.key == key:
            return device.facts.soc or device.facts.model
    with connect(tracker, key) as session:
        return cpu_of(read_device(session, "cpu")) or key


def this_machine() -> str:
    """The CPU of this machine."""
    return cpu_of(read_here("cpu")) or "this machine"


def cpu_of(files: Mapping[str, str]) -> str:
    """The CPU's name on x86; on arm the kinds of its cores."""
    text = files.get(_CPUINFO, "")
    if named := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
        return named[1].strip()
    ids = re.findall(
        r"^CPU implementer\s*:\s*(\w+)[\s\S]*?^CPU part\s*:\s*(\w+)", text, re.MULTILINE
    )
    kinds = dict.fromkeys(str(ArmCore(int(maker, 0), int(part, 0))) for maker, part in ids)
    return " + ".join(kinds)
