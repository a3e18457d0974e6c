"""`autoglm-tvm tracker`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.options import Json

if TYPE_CHECKING:
    from autoglm_tvm.rpc.tracker_service import TrackerStatus

app = typer.Typer(help="The tracker: it knows the devices, and lends one at a time.")


@app.command("start")
def start(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback are open to anybody.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 9190,
    background: Annotated[
        bool, typer.Option("--background", help="Return at once; `tracker stop` ends it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a tracker until Ctrl-C, or in the background."""
    from autoglm_tvm.rpc.tracker_service import is_loopback, start_background

    if not is_loopback(host):
        typer.echo(
            f"warning: whoever reaches {host}:{port} can run any code on your devices; there is "
            "no password (docs/security.md)",
            err=True,
        )
    if not background:
        from autoglm_tvm.rpc.tracker import serve_tracker

        serve_tracker(host, port, port + 1)
        return
    started = start_background(host, port)
    if as_json:
        typer.echo(json.dumps({"address": started.address, "pid": started.pid}))
        return
    typer.echo(f"tracker at {started.address}, process {started.pid}; log: {started.log}")


@app.command("status")
def status(
    tracker: Annotated[
        str | None, typer.Option(help="HOST:PORT; by default the one in the background.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell which devices a tracker has, and how many of them are free."""
    from autoglm_tvm.rpc.tracker_service import tracker_status

    found = tracker_status(tracker)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        _print(found)


@app.command("stop")
def stop(as_json: Json = False) -> None:
    """End the tracker that runs in the background."""
    from autoglm_tvm.rpc.tracker_service import stop_background

    stopped = stop_background()
    if as_json:
        typer.echo(json.dumps({"address": stopped.address, "pid": stopped.pid}))
    else:
        typer.echo(f"stopped the tracker at {stopped.address} (process {stopped.pid})")


def _print(found: TrackerStatus) -> None:
    ours = f", process {found.pid}" if found.pid is not None else ""
    typer.echo(f"tracker at {found.address}{ours}")
    for key, count in found.devices.items():
        typer.echo(f"  {key}: {count.free} of {count.total} free")
    if not found.devices:
        typer.echo("  no devices; add one: autoglm-tvm device add")
