"""`autoglm-tvm device`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from autoglm_tvm.compiler.cli import device_report
from autoglm_tvm.compiler.cli.options import Json

app = typer.Typer(help="Phones: add one, list them, check one, remove one, or emulate one.")

Key = Annotated[str, typer.Argument(help="The device's key.")]
Serial = Annotated[str | None, typer.Option(help="One phone, where several have this key.")]
Tracker = Annotated[
    str | None, typer.Option(help="HOST:PORT; by default the tracker in the background.")
]


@app.command("add")
def add(
    serial: Annotated[
        str | None, typer.Option(help="The phone's serial; needed where several are connected.")
    ] = None,
    tracker: Tracker = None,
    key: Annotated[
        str | None, typer.Option(help="Its name from now on; by default made from its model.")
    ] = None,
    libc: Annotated[
        str | None,
        typer.Option(help="The server's C library: android (needs a build with the NDK) or glibc."),
    ] = None,
    server: Annotated[
        Path | None, typer.Option(help="A folder with a device server; by default our own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a connected phone a device: server, tunnels, target, and one kernel as proof."""
    from autoglm_tvm.rpc.devices.add import add_device

    with _progress() as progress:
        added = add_device(
            serial, tracker=tracker, key=key, libc=libc, server=server, progress=progress
        )
    _tell(added, as_json, device_report.print_added)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the devices, as adb and the tracker see them now."""
    from autoglm_tvm.rpc.devices.listing import list_devices

    _tell(list_devices(), as_json, device_report.print_list)


@app.command("check")
def check(key: Key, serial: Serial = None, tracker: Tracker = None, as_json: Json = False) -> None:
    """Repair the way to a device, restart its server if it is gone, and let it compute."""
    from autoglm_tvm.rpc.devices.check import check_device

    with _progress() as progress:
        checked = check_device(key, serial=serial, tracker=tracker, progress=progress)
    _tell(checked, as_json, device_report.print_checked)


@app.command("remove")
def remove(
    key: Key,
    serial: Serial = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Only take it off the list; the phone may be gone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop the server, delete its folder on the phone, and take the device off the list."""
    from autoglm_tvm.rpc.devices.remove import remove_device

    _tell(remove_device(key, serial=serial, forget=forget), as_json, device_report.print_removed)


@app.command("emulate")
def emulate(
    cpu: Annotated[
        str, typer.Option(help="What qemu calls the CPU: cortex-a53, cortex-a76, max, ...")
    ] = "cortex-a76",
    tracker: Annotated[
        str | None, typer.Option(help="HOST:PORT of a tracker; by default one of its own.")
    ] = None,
    key: Annotated[str, typer.Option(help="Its key.")] = "emulated",
    as_json: Json = False,
) -> None:
    """Run an emulated arm64 phone until Ctrl-C: for trying things, not for measuring."""
    from autoglm_tvm.rpc.emulation.emulate import emulate_until_interrupted

    def started(address: str) -> None:
        if as_json:
            typer.echo(json.dumps({"key": key, "cpu": cpu, "tracker": address}))
            return
        typer.echo(f"an emulated {cpu} is device {key!r} at the tracker {address}; try:")
        typer.echo(f"  autoglm-tvm device check {key} --tracker {address}")
        typer.echo(f"  autoglm-tvm verify BUNDLE --reference MODEL --tracker {address} --key {key}")
        typer.echo("Ctrl-C ends it.")

    emulate_until_interrupted(cpu, key, tracker, started)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda step: status.update(step)


def _tell(result: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        show(result)
