"""`autoglm-tvm quantize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from autoglm_tvm.compiler.cli.accuracy_files import Report, check_reports
from autoglm_tvm.compiler.cli.files_read import files_read
from autoglm_tvm.compiler.cli.options import Calibration, Json, PerLayer, parse_shapes
from autoglm_tvm.compiler.cli.progress_bar import show_progress
from autoglm_tvm.compiler.cli.quantize_files import OutputFiles
from autoglm_tvm.targets.errors import UserInputError


def quantize_model(
    model: Annotated[Path, typer.Argument(help="The float ONNX file.")],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", "-r", help="int8, int8-dynamic, int4, fp16, mixed, or a YAML file."
        ),
    ] = "int8",
    calibration: Calibration = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take at most N calibration inputs.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Fix an input's shape: NAME=1,3,224,224.")
    ] = None,
    per_layer: PerLayer = False,
    target_drop: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Search layers to except until no more than X is lost: part of the decisions "
            "where an output is logits, 1 - cosine otherwise, or what --score returns.",
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="Score the outputs for --target-drop: function(outputs, inputs), lists of arrays "
            "by name, one entry a held-out input; returns a number, higher is better.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The ONNX file to write; MODEL.RECIPE.onnx otherwise."),
    ] = None,
    recipe_output: Annotated[
        Path | None,
        typer.Option(
            "--write-recipe",
            metavar="FILE",
            help="The recipe, as YAML. With --target-drop it is written in any case, beside the "
            "ONNX file.",
        ),
    ] = None,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Quantize an ONNX model, say what it costs, and find the layers to except."""
    shapes = parse_shapes(shape or [])
    read = files_read(model, recipe, calibration, score)
    files = OutputFiles.of(model, recipe, output, recipe_output, report or [], target_drop, read)
    check_reports(files.reports, per_layer or target_drop is not None)
    _check_options(calibration, score, target_drop, per_layer)
    with show_progress("loading", model.name) as tell:
        from autoglm_tvm.compiler.quantize_onnx import quantize_onnx

        scored = None
        if score is not None:
            from autoglm_tvm.compiler.quantization.user_score import load_score

            scored = load_score(score)
        result = quantize_onnx(
            model,
            recipe,
            calibration,
            shapes,
            limit=limit,
            per_layer=per_layer,
            target_drop=target_drop,
            score=scored,
            progress=tell,
        )
        tell("writing")
        written = files.write(result, model)
    if as_json:
        content = {**result.to_json(), "written": [str(path) for path in written]}
        typer.echo(json.dumps(content, indent=1, allow_nan=False))
        return
    from autoglm_tvm.compiler.cli.quantize_report import print_quantized

    print_quantized(result)
    for path in written:
        typer.echo(f"{path} written")


def _check_options(
    calibration: str | None,
    score: str | None,
    target_drop: float | None,
    per_layer: bool,
) -> None:
    if score is not None and target_drop is None:
        raise UserInputError(
            "--score is what --target-drop goes by", hint="give --target-drop too, such as 0.01"
        )
    if calibration is None and (per_layer or target_drop is not None):
        raise UserInputError(
            "accuracy cannot be measured without inputs",
            where="--per-layer" if per_layer else "--target-drop",
            hint="give --calibration DATA: a folder, an .npz file or file.py:function",
        )
