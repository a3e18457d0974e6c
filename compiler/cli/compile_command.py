"""`autoglm-tvm compile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.options import Cpu, Features, Json, parse_shapes
from autoglm_tvm.compiler.cli.stages import show_stages

if TYPE_CHECKING:
    from autoglm_tvm.compiler.compile import CompileResult


def compile_model(
    model: Annotated[Path, typer.Argument(help="The ONNX file.")],
    target: Annotated[
        str, typer.Option("--target", "-t", help="A preset; `autoglm-tvm targets` lists them.")
    ] = "android-arm64",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the bundle; NAME-TARGET here otherwise."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Fix an input's shape: NAME=1,3,224,224. Dimensions not fixed stay symbolic."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the library: lib<NAME>.so.")] = None,
    threads: Annotated[int | None, typer.Option(help="Worker threads to schedule for.")] = None,
    cpu: Cpu = None,
    features: Features = None,
    layout: Annotated[str | None, typer.Option(help="Layout of activations: NCHW or NHWC.")] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            help="Apply tuning records: a folder or file of them; `shipped` for ours alone."
        ),
    ] = None,
    dump_dir: Annotated[
        Path | None, typer.Option(help="Write what each stage produced to this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile an ONNX model to a bundle: library, weights, manifest."""
    shapes = parse_shapes(shape or [])
    with show_stages("loading TVM", model.name) as report:
        from autoglm_tvm.compiler import compile

        result = compile(
            model,
            target,
            output,
            shapes,
            name=name,
            threads=threads,
            cpu=cpu,
            features=features,
            layout=layout,
            records=records,
            dump_dir=dump_dir,
            progress=report,
        )
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        _print(result)


def _print(result: CompileResult) -> None:
    manifest = result.bundle.manifest
    peak = manifest.memory.activations_peak_bytes
    lines = [
        f"bundle   {result.directory}",
        f"target   {manifest.target['name']} ({manifest.target['triple']})",
        *(f"input    {spec}" for spec in manifest.inputs),
        *(f"output   {spec}" for spec in manifest.outputs),
        f"library  {manifest.library}, {manifest.files[manifest.library].bytes / 1e6:.2f} MB, "
        f"{len(manifest.elf_check['checks'])} ELF checks passed",
        f"weights  {manifest.memory.weights_bytes / 1e6:.2f} MB, memory-mapped",
        "memory   "
        + (f"{peak / 1e6:.2f} MB of activations at the peak" if peak is not None else "symbolic"),
        f"kernels  {result.staged.optimised.summary()}",
        *([f"records  {result.tuned.summary()}"] if result.tuned is not None else []),
        "time     " + ", ".join(f"{name} {s:.1f} s" for name, s in result.seconds.items()),
        *(f"note     {note}" for note in _notes(result)),
    ]
    typer.echo("\n".join(lines))


def _notes(result: CompileResult) -> list[str]:
    of_records = result.tuned.notes if result.tuned is not None else ()
    return [*result.staged.read.notes, *of_records]
