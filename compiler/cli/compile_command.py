"""`autoglm-tvm compile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.accuracy_files import Report, check_reports, report_contents
from autoglm_tvm.compiler.cli.files_read import files_read
from autoglm_tvm.compiler.cli.options import (
    Calibration,
    Cpu,
    Features,
    Json,
    PerLayer,
    parse_shapes,
)
from autoglm_tvm.compiler.cli.progress_bar import show_progress
from autoglm_tvm.compiler.quantization.write_model import check_outputs, write_files
from autoglm_tvm.targets.errors import UserInputError

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
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Quantize first: int8, int8-dynamic, int4, fp16, mixed, or a YAML file. A model "
            "that is quantized already runs as integers without it.",
        ),
    ] = None,
    calibration: Calibration = None,
    calibration_limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take at most N calibration inputs.")
    ] = None,
    per_layer: PerLayer = False,
    save_quantized: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the quantized ONNX model: the reference for `verify`."
        ),
    ] = None,
    report: Report = None,
    dump_dir: Annotated[
        Path | None, typer.Option(help="Write what each stage produced to this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile an ONNX model to a bundle: library, weights, manifest."""
    shapes = parse_shapes(shape or [])
    _check_reports(report or [], quantize, per_layer)
    written = [*(report or []), *([save_quantized] if save_quantized else [])]
    check_outputs(written, files_read(model, quantize, calibration), output)
    with show_progress("loading TVM", model.name) as tell:
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
            quantize=quantize,
            calibration=calibration,
            calibration_limit=calibration_limit,
            per_layer=per_layer,
            save_quantized=save_quantized,
            dump_dir=dump_dir,
            progress=tell,
        )
    _write_reports(report or [], result, model)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        _print(result)


def _check_reports(reports: list[Path], recipe: str | None, per_layer: bool) -> None:
    if reports and recipe is None:
        raise UserInputError(
            "--report is of what a recipe cost, and none is given",
            hint="add --quantize int8, or leave --report out",
        )
    check_reports(reports, per_layer)


def _write_reports(reports: list[Path], result: CompileResult, model: Path) -> None:
    found = result.quantized
    if not reports or found.quantized is None:
        return
    subject = f"{model.name}, recipe {found.quantized.recipe.name}"
    content = found.to_json() or {}
    write_files(report_contents(reports, content, found.accuracy, subject))


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
    _print_quantized(result)


def _print_quantized(result: CompileResult) -> None:
    """How the nodes of a quantized model run, and what a recipe cost."""
    found = result.quantized
    if not found.nodes:
        return
    from rich.console import Console

    from autoglm_tvm.compiler.cli.quantize_report import print_accuracy, print_execution

    console = Console(highlight=False, soft_wrap=True)
    print_execution(console, found.nodes)
    if found.accuracy is not None:
        print_accuracy(console, found.accuracy)
    elif found.quantized is not None:
        console.print("accuracy was not measured; give --calibration DATA")


def _notes(result: CompileResult) -> list[str]:
    of_records = result.tuned.notes if result.tuned is not None else ()
    quantized = result.quantized.quantized
    of_recipe = quantized.notes if quantized is not None else ()
    return [*result.staged.read.notes, *of_recipe, *of_records]
