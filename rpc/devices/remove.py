"""`device remove`: leave nothing of ours on a phone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.rpc.adb.phone import find_phone
from autoglm_tvm.rpc.devices.folder import device_folder
from autoglm_tvm.rpc.devices.phone_server import PhoneServer
from autoglm_tvm.rpc.devices.registry import devices_of, forget_device, load_devices
from autoglm_tvm.rpc.names import check_key
from autoglm_tvm.targets.device_presets import forget_device_preset
from autoglm_tvm.targets.errors import AutoglmError, MissingToolError, UserInputError


@dataclass(frozen=True)
class RemovedDevice:
    """What `remove_device` did.

    Attributes
    ----------
    key, serial
        The device.
    done
        What was stopped and deleted, in plain words.
    """

    key: str
    serial: str
    done: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def remove_device(key: str, *, serial: str | None = None, forget: bool = False) -> RemovedDevice:
    """Stop the server, delete its folder and the tunnels, and take the phone off the list.

    Parameters
    ----------
    key
        The device.
    serial
        Which phone of the key; not needed where there is one.
    forget
        Only take it off the list: for a phone that is gone for good.

    Raises
    ------
    UserInputError
        There is no such device, or several phones have the key and none is named.
    MissingToolError
        The phone is not connected.
    """
    devices = devices_of(check_key(key), serial)
    if len(devices) > 1:
        raise UserInputError(
            f"{len(devices)} phones have the key {key!r}",
            hint=f"name one with --serial: {', '.join(device.serial for device in devices)}",
        )
    device = devices[0]
    done = []
    if not forget:
        try:
            phone = find_phone(device.serial)
        except AutoglmError as error:
            raise MissingToolError(
                f"the phone of {key!r} cannot be cleaned up: {error.what}",
                hint=f"connect it, or leave it as it is: autoglm-tvm device remove {key} --forget",
            ) from error
        server = PhoneServer(phone, key)
        if server.stop():
            done.append("stopped the device server")
        if phone.remove_forward(device.port):
            done.append(f"removed the forward of port {device.port}")
        if phone.remove_reverse(device.tracker_port):
            done.append(f"removed the reverse of port {device.tracker_port}")
        server.remove()
        done.append(f"deleted {device_folder(key)} on the phone")
    forget_device(device.serial)
    if all(other.key != key for other in load_devices()):
        forget_device_preset(key)
    return RemovedDevice(key, device.serial, (*done, "taken off the list"))
