"""`device list`: the devices that were added, as adb and the tracker see them now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoglm_tvm.rpc.adb.client import list_phones
from autoglm_tvm.rpc.devices.registry import Device, load_devices
from autoglm_tvm.rpc.tracker_client import DeviceCount
from autoglm_tvm.rpc.tracker_service import default_tracker, tracker_status
from autoglm_tvm.targets.errors import AutoglmError

ABSENT = "absent"


@dataclass(frozen=True)
class ListedDevice:
    """One device.

    Attributes
    ----------
    device
        What is known of it.
    adb
        Its state at adb: ``device`` where all is well, `ABSENT` where it is not connected.
    at_tracker
        ``free``, ``busy``, or `ABSENT` where its server is not registered.
    """

    device: Device
    adb: str
    at_tracker: str


@dataclass(frozen=True)
class DeviceList:
    """All devices.

    Attributes
    ----------
    devices
        Those that were added here.
    others
        Keys at the default tracker that were not, with their counts.
    new_phones
        Serials and states of phones at adb that were not added.
    problems
        What could not be asked, and why.
    """

    devices: tuple[ListedDevice, ...]
    others: dict[str, DeviceCount]
    new_phones: dict[str, str]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "devices": [
                item.device.to_json() | {"adb": item.adb, "at_tracker": item.at_tracker}
                for item in self.devices
            ],
            "others": {
                key: {"total": count.total, "free": count.free}
                for key, count in self.others.items()
            },
            "new_phones": self.new_phones,
            "problems": list(self.problems),
        }


def list_devices() -> DeviceList:
    """Return what is known; asks adb and every tracker that a device was added at.

    Raises
    ------
    UserInputError
        The list of devices was damaged.
    """
    devices = load_devices()
    problems = []
    states: dict[str, str] = {}
    try:
        states = {phone.serial: phone.state for phone in list_phones()}
    except AutoglmError as error:
        problems.append(error.what)
    counts: dict[str, dict[str, DeviceCount]] = {}
    own = default_tracker()
    used = {device.tracker for device in devices}
    for address in sorted({own, *used}):
        try:
            counts[address] = tracker_status(address).devices
        except AutoglmError as error:
            # Nobody has said that there is one at the usual address.
            if address in used:
                problems.append(error.what)
    rows = tuple(
        ListedDevice(
            device,
            states.get(device.serial, ABSENT),
            _at_tracker(counts.get(device.tracker, {}).get(device.key)),
        )
        for device in devices
    )
    added = {device.serial for device in devices}
    keys = {device.key for device in devices}
    return DeviceList(
        rows,
        {key: count for key, count in counts.get(own, {}).items() if key not in keys},
        {serial: state for serial, state in states.items() if serial not in added},
        tuple(problems),
    )


def _at_tracker(count: DeviceCount | None) -> str:
    if count is None:
        return ABSENT
    return "free" if count.free else "busy"
