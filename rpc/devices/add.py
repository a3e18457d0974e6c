"""`device add`: from a phone on a cable to a device that is proved to compute."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoglm_tvm.rpc.adb.phone import Phone, find_phone
from autoglm_tvm.rpc.devices.choose_key import choose_key, refuse_other_kind
from autoglm_tvm.rpc.devices.facts import DeviceFacts, refuse_unfit
from autoglm_tvm.rpc.devices.phone_server import PhoneServer, Pushed
from autoglm_tvm.rpc.devices.ports import connect_server, connect_tracker, free_port, tracker_port
from autoglm_tvm.rpc.devices.proof import Proof, prove
from autoglm_tvm.rpc.devices.read_facts import read_facts
from autoglm_tvm.rpc.devices.registration import check_tracker, wait_until_registered
from autoglm_tvm.rpc.devices.registry import Device, load_devices, save_device
from autoglm_tvm.rpc.devices.server_files import ServerFiles, built_for_android, server_files
from autoglm_tvm.rpc.devices.target_choice import base_preset, make_preset
from autoglm_tvm.rpc.names import check_new_key
from autoglm_tvm.rpc.tracker_service import default_tracker
from autoglm_tvm.targets.device_presets import save_device_preset
from autoglm_tvm.targets.errors import AutoglmError, MissingToolError
from autoglm_tvm.targets.preset import Preset
from autoglm_tvm.targets.target import target_of_preset

Progress = Callable[[str], None]

_PORTS_TRIED = 5
# The device server's words, and those of `rpc/adb/errors.py`.
_PORT_IS_TAKEN = ("no free port", "port is taken")


@dataclass(frozen=True)
class AddedDevice:
    """What `add_device` found and did.

    Attributes
    ----------
    device
        The entry in the list of devices, with the phone's facts.
    target
        The preset that was made for it; `compile --target KEY` takes it.
    pushed
        What had to be copied.
    proof
        The kernel that it computed.
    notes
        What a person should know, such as a server without Android's C library.
    """

    device: Device
    target: Preset
    pushed: Pushed
    proof: Proof
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        from dataclasses import asdict

        return {
            "device": self.device.to_json(),
            "target": asdict(self.target),
            "pushed": asdict(self.pushed),
            "proof": self.proof.to_json(),
            "notes": list(self.notes),
        }


def add_device(
    serial: str | None = None,
    *,
    tracker: str | None = None,
    key: str | None = None,
    libc: str | None = None,
    server: Path | None = None,
    progress: Progress = lambda step: None,
) -> AddedDevice:
    """Put a server on a phone, register it at a tracker, and prove that it computes.

    Again for a phone that was added before: brings it up to date.

    Parameters
    ----------
    serial
        The phone; not needed where only one is connected.
    tracker
        ``HOST:PORT`` on this machine's loopback; by default the tracker in the background.
    key
        The device's name at the tracker and of its target; by default made from the model. Phones
        of one kind may share a key: tuning then uses all of them.
    libc
        ``android`` or ``glibc``; by default ``android`` if such a server was built.
    server
        A folder with a device server; by default the one that was built here.
    progress
        Called with each step before it is done.

    Raises
    ------
    UserInputError
        Key, serial or address are malformed, or taken; several phones are connected.
    MissingToolError
        No adb, no phone, no tracker, no server, or the phone refuses.
    CheckFailedError
        The phone computes wrong.
    """
    address = tracker or default_tracker()
    its_port = tracker_port(address)
    if key is not None:
        check_new_key(key)
    progress("looking for the phone")
    phone = find_phone(serial)
    where = f"phone {phone.serial}"
    facts = read_facts(phone)
    refuse_unfit(facts, where)
    key = choose_key(key, phone.serial, facts)
    check_tracker(address)
    chosen = libc or _default_libc(facts)
    progress("getting the device server")
    files = server_files(chosen, facts.arch, server)
    preset = make_preset(facts, key)
    refuse_other_kind(preset, phone.serial)
    device = Device(
        key=key,
        serial=phone.serial,
        tracker=address,
        tracker_port=its_port,
        port=_port(phone.serial),
        libc=chosen,
        server=str(server.absolute()) if server else "",
        base_target=base_preset(facts).name,
        facts=facts,
    )
    on_phone = PhoneServer(phone, key)
    ports = {device.port}
    with _undone_on_failure(phone, on_phone, device.tracker_port, ports):
        progress(f"copying the device server to {facts.name}")
        pushed = on_phone.push(files, facts.free_storage_mib)
        progress("starting the device server")
        on_phone.stop()
        connect_tracker(phone, device.tracker_port)
        device = _start(phone, on_phone, files, device, ports)
        wait_until_registered(on_phone, address, key)
        progress("running one kernel")
        proof = prove(address, key, target_of_preset(preset), port=device.port)
    save_device_preset(preset)
    save_device(device)
    return AddedDevice(device, preset, pushed, proof, _notes(device))


def _default_libc(facts: DeviceFacts) -> str:
    return "android" if built_for_android(facts.arch) or facts.arch != "aarch64" else "glibc"


def _port(serial: str) -> int:
    """Return the port that the phone had before, or one that no other phone has."""
    devices = load_devices()
    before = next((device.port for device in devices if device.serial == serial), None)
    return before or free_port({device.port for device in devices})


def _start(
    phone: Phone, server: PhoneServer, files: ServerFiles, device: Device, ports: set[int]
) -> Device:
    """Start the server behind a forward; on another port where one side has it taken.

    ``ports`` gets every port that was tried.
    """
    others = {other.port for other in load_devices()}
    tries_left = _PORTS_TRIED
    while True:
        try:
            connect_server(phone, device.port)
            server.start(files, device.tracker_port, device.port)
            return device
        except MissingToolError as error:
            tries_left -= 1
            if tries_left == 0 or not any(words in error.what for words in _PORT_IS_TAKEN):
                raise
        phone.remove_forward(device.port)
        device = replace(device, port=free_port(others | ports))
        ports.add(device.port)


@contextlib.contextmanager
def _undone_on_failure(
    phone: Phone, server: PhoneServer, tracker_port: int, ports: set[int]
) -> Iterator[None]:
    """Leave no server and no tunnels behind where the block fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(AutoglmError):
            server.stop()
            phone.remove_reverse(tracker_port)
            for port in ports:
                phone.remove_forward(port)
        raise


def _notes(device: Device) -> tuple[str, ...]:
    notes = []
    if device.libc == "glibc":
        notes.append(
            "the server brings its own C library (glibc): right for tuning and measuring the CPU; "
            "GPUs and Android's own loader need --libc android"
        )
    if device.facts.arch == "aarch64" and not any(core.max_mhz for core in device.facts.cores):
        notes.append("the phone does not tell its cores' frequencies")
    return tuple(notes)
