"""What a system tells about itself in /proc and /sys: cores, thermal zones, power, memory.

Everything reads these files as one dict of path and text, so that a device, this machine and a
test's fake tree look the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.targets.errors import MissingToolError

if TYPE_CHECKING:
    from autoglm_tvm.rpc.session import DeviceSession

Files = Mapping[str, str]
READ = "autoglm.device.read"

# The same tables as in the device server (rpc/native), which reads nothing else.
GROUPS: dict[str, tuple[str, ...]] = {
    "cpu": (
        "proc/cpuinfo",
        "sys/devices/system/cpu/possible",
        "sys/devices/system/cpu/online",
        "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
        "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
        "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq",
        "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
        "sys/devices/system/cpu/cpu[0-9]*/cpu_capacity",
        "sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list",
    ),
    "thermal": (
        "sys/class/thermal/thermal_zone*/type",
        "sys/class/thermal/thermal_zone*/temp",
    ),
    "power": (
        *(
            f"sys/class/power_supply/*/{name}"
            for name in ("type", "status", "capacity", "current_now", "voltage_now", "temp")
        ),
        "sys/class/powercap/*/energy_uj",
    ),
    "memory": ("proc/meminfo", "proc/self/status"),
}


def read_here(group: str, root: Path = Path("/")) -> dict[str, str]:
    """Return the files of a group on this machine; those that cannot be read are left out.

    Parameters
    ----------
    group
        A key of `GROUPS`.
    root
        Where the tree begins; the paths in the result do not name it.
    """
    found = {}
    for pattern in GROUPS[group]:
        for path in sorted(root.glob(pattern)):
            try:
                text = path.read_text("utf-8", errors="replace")
            except OSError:  # a sensor that is switched off, or one for root alone
                continue
            found[f"/{path.relative_to(root)}"] = text
    return found


def read_device(session: DeviceSession, group: str) -> dict[str, str]:
    """Return the files of a group on a device.

    Raises
    ------
    MissingToolError
        The device runs another server than ours, an old one, or has gone.
    """
    with session.calls(f"reading its {group} files"):
        try:
            read = session.remote.get_function(READ)
        except AttributeError:
            raise MissingToolError(
                f"the device's server has no function {READ}",
                where=session.where,
                hint="start the server of this version: autoglm-tvm device add",
            ) from None
        return json.loads(str(read(group)))


def number(files: Files, path: str) -> int | None:
    """Return a file's content as a whole number; None where it is missing or something else."""
    try:
        return int(files.get(path, "").strip())
    except ValueError:
        return None
