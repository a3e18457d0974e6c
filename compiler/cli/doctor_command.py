"""`autoglm-tvm doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from autoglm_tvm.compiler.cli.options import Json

if TYPE_CHECKING:
    from autoglm_tvm.targets import Capability


def examine(as_json: Json = False) -> None:
    """Tell what this machine can do, and how to mend what is missing."""
    from autoglm_tvm.targets import probe

    found = probe()
    broken = [item for item in found if item.required and not item.ok]
    if as_json:
        content = {"ok": not broken, "capabilities": [asdict(item) for item in found]}
        typer.echo(json.dumps(content, indent=1))
    else:
        width = max(len(item.name) for item in found)
        for item in found:
            _print(item, width)
        missing = ", ".join(item.name for item in broken)
        typer.echo(f"missing: {missing}" if broken else "everything that is required is here")
    raise typer.Exit(3 if broken else 0)


def _print(item: Capability, width: int) -> None:
    mark, color = ("ok", "green") if item.ok else ("absent", "yellow")
    if item.required and not item.ok:
        mark, color = "MISSING", "red"
    typer.echo(f"{typer.style(f'{mark:8}', fg=color)}{item.name:{width}}  {item.detail}")
    if not item.ok:
        typer.echo(f"{'':8}{'':{width}}  needed for {item.needed_for}; {item.hint}")
