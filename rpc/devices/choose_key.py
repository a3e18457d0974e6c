"""The key of a phone that is added: the user's choice, the one that it had, or its model's name."""

from __future__ import annotations

import re

from autoglm_tvm.rpc.devices.facts import DeviceFacts
from autoglm_tvm.rpc.devices.registry import load_devices
from autoglm_tvm.targets.device_presets import device_presets
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.preset import Preset
from autoglm_tvm.targets.presets import load_presets

# What code for a device depends on.
_CODE_FIELDS = ("arch", "abi", "cpu", "features", "page_size")


def choose_key(key: str | None, serial: str, facts: DeviceFacts) -> str:
    """Return the key for a phone.

    Parameters
    ----------
    key
        The user's choice, which was checked; None for the one that it had, or one of ours.
    serial
        The phone.
    facts
        What it is.

    Raises
    ------
    UserInputError
        The phone has another key already.
    """
    devices = load_devices()
    before = next((device.key for device in devices if device.serial == serial), None)
    if before is not None and key not in (None, before):
        # Two servers on one phone would disturb each other's measurements.
        raise UserInputError(
            f"this phone was added as {before!r}",
            where=f"phone {serial}",
            hint=f"leave --key out, or first: autoglm-tvm device remove {before}",
        )
    if key is not None or before is not None:
        return key or before or ""
    name = re.sub(r"[^a-z0-9]+", "-", facts.model.lower()).strip("-")[:56] or "phone"
    # The same model is the same kind; another one may still come to the same name.
    taken = {device.key for device in devices if device.facts.model != facts.model}
    taken |= set(load_presets())
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(candidate for candidate in names if candidate not in taken)


def refuse_other_kind(preset: Preset, serial: str) -> None:
    """Raise `UserInputError` if other phones of this key need other code.

    Parameters
    ----------
    preset
        The target that was made for the phone, under the key.
    serial
        The phone.
    """
    others = [
        device for device in load_devices() if device.key == preset.name and device.serial != serial
    ]
    theirs = device_presets().get(preset.name)
    if not others or theirs is None:
        return
    if any(getattr(theirs, field) != getattr(preset, field) for field in _CODE_FIELDS):
        raise UserInputError(
            f"the key {preset.name!r} belongs to {others[0].facts.name} ({others[0].serial}), "
            f"whose code ({theirs.cpu}) is not right for this phone ({preset.cpu})",
            where="--key",
            hint="choose another key; only phones of one kind can share one",
        )
