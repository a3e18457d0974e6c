"""What a device can load, compared with what a bundle is, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.presets import load_presets

# The C library behind each ABI, as a user may know it.
_C_LIBRARIES = {"android": "Android's C library, bionic", "gnu": "glibc"}


@dataclass(frozen=True)
class DeviceAbout:
    """A device's architecture, and the ABIs whose libraries its loader takes, its own first."""

    arch: str
    abis: tuple[str, ...]


def ask_device(remote: Any) -> DeviceAbout | None:
    """Ask our device server; None where another one runs.

    Parameters
    ----------
    remote
        TVM's session (``tvm.rpc.RPCSession``).
    """
    try:
        about = remote.get_function("autoglm.device.about")
    except AttributeError:
        return None
    arch, *abis = str(about()).split()
    return DeviceAbout(arch, tuple(abis))


def refuse_other_device(bundle: Bundle, device: DeviceAbout, where: str) -> None:
    """Raise `UserInputError` if the device cannot load the bundle's library."""
    target = bundle.manifest.target
    arch, abi = str(target["arch"]), str(target["abi"])
    if arch != device.arch:
        reason = f"this device is {device.arch}"
    elif abi not in device.abis:
        own = device.abis[0] if device.abis else ""
        reason = (
            f"it needs {_C_LIBRARIES.get(abi, abi)}; "
            f"this device has {_C_LIBRARIES.get(own, 'another C library')}"
        )
    else:
        return
    raise UserInputError(
        f"the bundle is for {target['name']} ({target['triple']}): {reason}",
        where=where,
        hint=_compile_for(device),
    )


def _compile_for(device: DeviceAbout) -> str:
    fitting = [
        preset.name
        for preset in load_presets().values()
        if not preset.is_native and preset.arch == device.arch and preset.abi in device.abis[:1]
    ]
    if not fitting:
        return "compile the model with --target host on a machine of the device's kind"
    return f"compile it for this device: autoglm-tvm compile MODEL --target {fitting[0]} -o DIR"
