"""The devices that this user added: a JSON file in the configuration folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from autoglm_tvm.rpc.devices.facts import DeviceFacts
from autoglm_tvm.targets.config_folder import config_root
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.locked_file import locked, write_atomically
from autoglm_tvm.targets.near import did_you_mean

_FILE = "devices.json"
_VERSION = 1


@dataclass(frozen=True)
class Device:
    """A phone that was added.

    Attributes
    ----------
    key
        Its name at the tracker, which phones of one kind may share; their target has the same.
    serial
        Its serial at adb.
    tracker
        ``HOST:PORT`` of the tracker, as this machine reaches it.
    tracker_port
        The phone's port that leads to the tracker.
    port
        The server's port, the same on the phone and on this machine.
    libc
        ``glibc`` or ``android``: what the server was built for.
    server
        The folder that the server came from; empty for the one that we build ourselves.
    base_target
        The preset of ours that fits it best.
    facts
        What it is.
    """

    key: str
    serial: str
    tracker: str
    tracker_port: int
    port: int
    libc: str
    server: str
    base_target: str
    facts: DeviceFacts

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return own | {"facts": self.facts.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Device:
        """What `to_json` wrote.

        Raises
        ------
        KeyError, TypeError
            A field is missing.
        """
        values: dict[str, Any] = {field.name: data[field.name] for field in fields(cls)}
        values["facts"] = DeviceFacts.from_json(data["facts"])
        return cls(**values)


def load_devices() -> list[Device]:
    """Return the devices, sorted by key and serial.

    Raises
    ------
    UserInputError
        The file was damaged, or written by a newer version.
    """
    path = registry_path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise ValueError(f"it has version {content['version']}, this program knows {_VERSION}")
        return [Device.from_json(entry) for entry in content["devices"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserInputError(
            f"cannot read the list of your devices: {error}",
            where=str(path),
            hint="delete the file, and add the devices again: autoglm-tvm device add",
        ) from error


def devices_of(key: str, serial: str | None = None) -> list[Device]:
    """Return the devices of a key, which phones of one kind may share; or the one of a serial.

    Raises
    ------
    UserInputError
        None was added under it.
    """
    devices = load_devices()
    of_key = [device for device in devices if device.key == key]
    if not of_key:
        keys = sorted({device.key for device in devices})
        raise UserInputError(
            f"no device {key!r} was added here{did_you_mean(key, keys)}",
            hint=f"there are: {', '.join(keys)}"
            if keys
            else f"add it: autoglm-tvm device add --key {key}",
        )
    found = [device for device in of_key if serial in (None, device.serial)]
    if not found:
        raise UserInputError(
            f"no phone of serial {serial!r} was added as {key!r}",
            where="--serial",
            hint=f"there are: {', '.join(device.serial for device in of_key)}",
        )
    return found


def save_device(device: Device) -> None:
    """Add a device, or replace the one of its serial."""
    with locked(registry_path()):
        _write([*_others(device.serial), device])


def forget_device(serial: str) -> None:
    """Take a device off the list; nothing happens where it is not on it."""
    with locked(registry_path()):
        _write(_others(serial))


def _others(serial: str) -> list[Device]:
    return [device for device in load_devices() if device.serial != serial]


def registry_path() -> Path:
    """Return the file."""
    return config_root() / _FILE


def _write(devices: list[Device]) -> None:
    entries = [device.to_json() for device in sorted(devices, key=lambda d: (d.key, d.serial))]
    content = {"version": _VERSION, "devices": entries}
    write_atomically(registry_path(), json.dumps(content, indent=1) + "\n")
