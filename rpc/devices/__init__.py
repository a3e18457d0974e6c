"""The user's phones: found, known, given a server, checked and let go again."""

from __future__ import annotations

from autoglm_tvm.rpc.devices.add import AddedDevice, add_device
from autoglm_tvm.rpc.devices.check import CheckedDevice, check_device
from autoglm_tvm.rpc.devices.listing import DeviceList, list_devices
from autoglm_tvm.rpc.devices.remove import RemovedDevice, remove_device

__all__ = [
    "AddedDevice",
    "CheckedDevice",
    "DeviceList",
    "RemovedDevice",
    "add_device",
    "check_device",
    "list_devices",
    "remove_device",
]
