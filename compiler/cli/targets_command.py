"""`autoglm-tvm targets`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from autoglm_tvm.compiler.cli.options import Json
from autoglm_tvm.targets.errors import AutoglmError

if TYPE_CHECKING:
    from autoglm_tvm.targets import Preset


def list_targets(as_json: Json = False) -> None:
    """List the presets: what each one emits, and what it links with."""
    from autoglm_tvm.targets import device_presets, load_presets

    presets = [*load_presets().values(), *device_presets().values()]
    if as_json:
        typer.echo(json.dumps([asdict(preset) for preset in presets], indent=1))
        return
    for preset in presets:
        typer.echo("\n".join(_lines(preset)))
    typer.echo("Refine any of them with --cpu, --features and --threads.")


def _lines(preset: Preset) -> Iterator[str]:
    from autoglm_tvm.targets import find_linkers, resolve_target

    yield typer.style(preset.name, bold=True)
    yield f"  {preset.description}"
    try:
        target = resolve_target(preset.name)
        linker = next((item for item in find_linkers(target) if item.found), None)
    except AutoglmError as error:
        yield f"  cannot be used: {error}"
        return
    # The host's features are all those of its CPU: a list of a hundred helps nobody.
    features = " ".join(preset.features)
    yield (
        f"  phones  {preset.examples}"
        if target.abi == "android"
        else f"  is      {preset.examples}"
    )
    yield f"  emits   {target.triple}, {target.cpu} {features}".rstrip()
    yield f"  needs   {', '.join(target.needed)}; pages of up to {target.page_size // 1024} KB"
    if linker is None:
        yield "  linker  none found: `autoglm-tvm doctor` tells what to install"
    else:
        yield f"  linker  {linker.kind}, {linker.reason}"
