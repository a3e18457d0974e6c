"""`device check`: put right what has gone since a device was added, and prove it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.rpc.adb.phone import find_phone
from autoglm_tvm.rpc.device_about import ask_device
from autoglm_tvm.rpc.devices.phone_server import PhoneServer
from autoglm_tvm.rpc.devices.ports import connect_server, connect_tracker
from autoglm_tvm.rpc.devices.proof import Proof, prove
from autoglm_tvm.rpc.devices.registration import check_tracker, wait_until_registered
from autoglm_tvm.rpc.devices.registry import Device, devices_of, load_devices
from autoglm_tvm.rpc.devices.server_files import server_files
from autoglm_tvm.rpc.names import check_key
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.target import Target, resolve_target

Progress = Callable[[str], None]


@dataclass(frozen=True)
class CheckedPhone:
    """What was found of one phone.

    Attributes
    ----------
    serial
        The phone; empty for a device that was not added here.
    repaired
        What was gone and is there again, in plain words; empty where all was well.
    proof
        The kernel that it computed.
    """

    serial: str
    repaired: tuple[str, ...]
    proof: Proof


@dataclass(frozen=True)
class CheckedDevice:
    """What `check_device` found.

    Attributes
    ----------
    key, tracker
        The device.
    phones
        Each phone of the key.
    """

    key: str
    tracker: str
    phones: tuple[CheckedPhone, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def check_device(
    key: str,
    *,
    serial: str | None = None,
    tracker: str | None = None,
    progress: Progress = lambda step: None,
) -> CheckedDevice:
    """Repair the way to a device, restart its server if it is gone, and prove that it computes.

    Parameters
    ----------
    key
        A device that was added, or, with ``tracker``, any device that is connected there.
    serial
        One phone of the key; by default all of them.
    tracker
        ``HOST:PORT``; by default where the device was added.
    progress
        Called with each step before it is done.

    Raises
    ------
    UserInputError
        There is no such device.
    MissingToolError
        Phone or tracker are not there, or the server does not come up.
    CheckFailedError
        It computes wrong.
    """
    check_key(key)
    if tracker is not None and all(device.key != key for device in load_devices()):
        return _check_stranger(key, tracker, progress)
    devices = devices_of(key, serial)
    for device in devices:
        if tracker not in (None, device.tracker):
            raise UserInputError(
                f"the device {key!r} was added at the tracker {device.tracker}",
                where="--tracker",
                hint=f"move it: autoglm-tvm device add --serial {device.serial} "
                f"--tracker {tracker}",
            )
    phones = tuple(_check_phone(device, progress) for device in devices)
    return CheckedDevice(key, devices[0].tracker, phones)


def _check_phone(device: Device, progress: Progress) -> CheckedPhone:
    check_tracker(device.tracker)
    target = resolve_target(device.key)

    def proved() -> Proof:
        progress(f"running one kernel on {device.serial}")
        return prove(device.tracker, device.key, target, port=device.port)

    repaired = _repair(device, progress, restart=False)
    try:
        proof = proved()
    except MissingToolError as error:
        # A server may live and still be stuck; once is enough to find out.
        repaired += _repair(device, progress, restart=True, because=error.what)
        proof = proved()
    return CheckedPhone(device.serial, tuple(repaired), proof)


def _repair(device: Device, progress: Progress, *, restart: bool, because: str = "") -> list[str]:
    progress("looking for the phone")
    phone = find_phone(device.serial)
    repaired = []
    if connect_tracker(phone, device.tracker_port):
        repaired.append("the way from the phone to the tracker (adb reverse)")
    if connect_server(phone, device.port):
        repaired.append("the way from here to the phone's server (adb forward)")
    server = PhoneServer(phone, device.key)
    if restart or server.process() is None:
        progress("starting the device server")
        files = server_files(
            device.libc, device.facts.arch, Path(device.server) if device.server else None
        )
        pushed = server.push(files)
        if pushed.files:
            repaired.append(f"files of the server: {', '.join(pushed.files)}")
        server.stop()
        server.start(files, device.tracker_port, device.port)
        repaired.append(f"the device server, because {because or 'it did not run'}")
    wait_until_registered(server, device.tracker, device.key)
    return repaired


def _check_stranger(key: str, tracker: str, progress: Progress) -> CheckedDevice:
    """Prove a device that somebody else started, such as an emulated one."""
    progress("running one kernel")
    with connect(tracker, key) as session, session.calls("asking what it is"):
        about = ask_device(session.remote)
    if about is None:
        raise MissingToolError(
            "this is not our device server, and does not say what it is",
            where=f"device {key!r} at {tracker}",
            hint="start autoglm-device-server on it (docs/devices.md)",
        )
    proof = prove(tracker, key, _plain_target(about.arch, about.abis))
    return CheckedDevice(key, tracker, (CheckedPhone("", (), proof),))


def _plain_target(arch: str, abis: tuple[str, ...]) -> Target:
    names = {("aarch64", "gnu"): "linux-arm64", ("aarch64", "android"): "android-arm64"}
    own = abis[0] if abis else ""
    if arch == "x86_64":
        return resolve_target("android-x86_64" if own == "android" else "host")
    return resolve_target(names[(arch, own)])
