"""`autoglm-tvm runtime`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.options import Json

if TYPE_CHECKING:
    from autoglm_tvm.rpc.runtime import RuntimeBuild

app = typer.Typer(help="TVM's runtime and the device server, built for a device.")


@app.callback()
def _group() -> None:
    """Keep `build` a command of its own, while it is the only one."""


@app.command("build")
def build(
    target: Annotated[
        str, typer.Option(help="android-arm64 (needs the NDK) or linux-arm64 (glibc).")
    ],
    ndk: Annotated[
        Path | None,
        typer.Option(help="The NDK; else ANDROID_NDK_HOME, ANDROID_NDK_ROOT, ANDROID_HOME/ndk."),
    ] = None,
    tvm_source: Annotated[
        Path | None,
        typer.Option(help="A checkout of TVM v0.27.0, instead of a download of 90 MB."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Copy the result there.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Compilers at once (one for each CPU).", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the runtime and the server from the sources in TVM's wheels; minutes, then cached."""
    from autoglm_tvm.rpc.runtime import build_runtime

    built = build_runtime(
        target,
        ndk=ndk,
        tvm_source=tvm_source,
        output=output,
        jobs=jobs,
        progress=_show if sys.stderr.isatty() else _show_tenths,
    )
    if as_json:
        typer.echo(json.dumps(built.to_json(), indent=1))
    else:
        _print(built)


def _show(what: str, done: int, steps: int) -> None:
    typer.echo(f"\rcompiling {what}: {done} of {steps} ", err=True, nl=done == steps)


def _show_tenths(what: str, done: int, steps: int) -> None:
    if done * 10 // steps > (done - 1) * 10 // steps:
        typer.echo(f"compiling {what}: {done} of {steps}", err=True)


def _print(built: RuntimeBuild) -> None:
    how = "built before" if built.was_cached else f"built in {built.seconds:.0f} s"
    typer.echo(f"{built.target}: {how}")
    for name, size in built.files.items():
        typer.echo(f"  {name}  {size / 1e6:.1f} MB")
    typer.echo(str(built.folder))
