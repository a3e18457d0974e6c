"""The results of `autoglm-tvm device` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from autoglm_tvm.rpc.devices.add import AddedDevice
    from autoglm_tvm.rpc.devices.check import CheckedDevice
    from autoglm_tvm.rpc.devices.facts import DeviceFacts
    from autoglm_tvm.rpc.devices.listing import DeviceList
    from autoglm_tvm.rpc.devices.proof import Proof
    from autoglm_tvm.rpc.devices.remove import RemovedDevice


def print_added(added: AddedDevice) -> None:
    """What was found and done, and the commands that come next."""
    device, target = added.device, added.target
    _print_facts(device.facts)
    features = " ".join(target.features)
    typer.echo(f"  target   {target.name}: like {device.base_target}, {target.cpu} {features}")
    typer.echo(f"  copied   {len(added.pushed.files)} files, {added.pushed.size / 1e6:.1f} MB")
    typer.echo(f"  server   {device.libc}, port {device.port}, at the tracker {device.tracker}")
    _print_proof(added.proof)
    for note in added.notes:
        typer.echo(f"  note     {note}")
    typer.echo(f"{typer.style(device.key, bold=True)} is ready. Next:")
    typer.echo(f"  autoglm-tvm compile MODEL --target {target.name} -o BUNDLE")
    typer.echo(
        f"  autoglm-tvm verify BUNDLE --reference MODEL --tracker {device.tracker} "
        f"--key {device.key}"
    )


def print_list(found: DeviceList) -> None:
    """A paragraph per device: names in full, to be copied into a command."""
    for row in found.devices:
        device = row.device
        typer.echo(f"{typer.style(device.key, bold=True)}  {device.facts.name}")
        typer.echo(f"  adb      {device.serial}: {row.adb}")
        typer.echo(f"  tracker  {device.tracker}: {row.at_tracker}")
        typer.echo(f"  target   {device.key}, like {device.base_target}")
        if row.adb != "device" or row.at_tracker == "absent":
            typer.echo(f"  repair   autoglm-tvm device check {device.key}")
    if not found.devices:
        typer.echo("no device was added; connect a phone and: autoglm-tvm device add")
    for key, count in found.others.items():
        typer.echo(f"at the tracker too: {key}, {count.free} of {count.total} free")
    for serial, state in found.new_phones.items():
        typer.echo(f"connected, not added: {serial} ({state})")
    for problem in found.problems:
        typer.echo(f"note: {problem}")


def print_checked(checked: CheckedDevice) -> None:
    """What was repaired, and the proof."""
    for phone in checked.phones:
        if len(checked.phones) > 1:
            typer.echo(f"  phone    {phone.serial}")
        for what in phone.repaired:
            typer.echo(f"  repaired {what}")
        _print_proof(phone.proof)
    typer.echo(f"{checked.key} at {checked.tracker} is ready")


def print_removed(removed: RemovedDevice) -> None:
    """What was done."""
    typer.echo(f"{removed.key} ({removed.serial}): {'; '.join(removed.done)}")


def _print_facts(facts: DeviceFacts) -> None:
    typer.echo(typer.style(facts.name, bold=True))
    version = f"Android {facts.android} (API level {facts.api_level})" if facts.android else "Linux"
    gpu = f"{facts.gpu or 'unknown'}; {', '.join(facts.gpu_interfaces) or 'no driver found'}"
    for label, text in (
        ("system", f"{version}, Linux {facts.kernel}, pages of {facts.page_size // 1024} KB"),
        ("SoC", facts.soc or "unknown"),
        ("cores", facts.clusters),
        ("memory", f"{facts.memory_mib} MiB; {facts.free_storage_mib} MiB of storage free"),
        ("GPU", gpu),
    ):
        typer.echo(f"  {label:8} {text}")


def _print_proof(proof: Proof) -> None:
    typer.echo(f"  proof    {proof.kernel} for {proof.target}: error {proof.relative_error:.1e}")
