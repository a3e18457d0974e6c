"""`autoglm-tvm run`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from autoglm_tvm.compiler.cli.options import Json, load_inputs, save_outputs


def run_bundle(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    inputs: Annotated[Path, typer.Option(help="Inputs by name, an .npz file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Outputs by name, an .npz file.")],
    threads: Annotated[int | None, typer.Option(help="Worker threads.")] = None,
    as_json: Json = False,
) -> None:
    """Run a bundle on this machine."""
    from rich.console import Console

    from autoglm_tvm.artifacts import open_bundle

    arrays = load_inputs(inputs)
    with Console(stderr=True).status("running"):
        loaded = open_bundle(bundle, threads)
        start = time.perf_counter()
        results = loaded.run(arrays)
        seconds = time.perf_counter() - start
    save_outputs(output, results)
    if as_json:
        shapes = {name: [str(a.dtype), list(a.shape)] for name, a in results.items()}
        content = {"output": str(output), "outputs": shapes, "seconds": seconds}
        typer.echo(json.dumps(content, indent=1))
        return
    for name, array in results.items():
        typer.echo(f"{name}: {array.dtype}{list(array.shape)}")
    typer.echo(f"{output} written after one run of {seconds * 1e3:.1f} ms (not a benchmark)")
