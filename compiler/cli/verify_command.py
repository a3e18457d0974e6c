"""`autoglm-tvm verify`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.options import Json, load_inputs, parse_shapes
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from autoglm_tvm.compiler.compare import TensorError
    from autoglm_tvm.compiler.verify import VerifyResult


def verify_bundle(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    reference: Annotated[
        Path,
        typer.Option(
            help="The ONNX file it was compiled from; the one of compile --save-quantized, if a "
            "recipe quantized it."
        ),
    ],
    inputs: Annotated[
        Path | None, typer.Option(help="Inputs by name, an .npz file; random ones otherwise.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Shape of a random input with symbolic dimensions: NAME=1,3,224,224."),
    ] = None,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Compare every kernel's result too.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest relative error of an output that counts as right: 1e-3."),
    ] = None,
    tracker: Annotated[
        str | None, typer.Option(help="Run on a device: HOST:PORT of the tracker.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The device's key at the tracker.")] = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle's outputs with ONNX Runtime's."""
    if (tracker is None) != (key is None):
        raise UserInputError(
            "--tracker and --key go together", hint="give both to run on a device, or neither"
        )
    if tolerance is not None and (math.isnan(tolerance) or tolerance < 0):
        raise UserInputError(
            f"--tolerance {tolerance} is no error to compare with",
            hint="give 0 or more; 1e-3 is a thousandth of the largest value",
        )
    shapes = parse_shapes(shape or [])
    from rich.console import Console

    with Console(stderr=True).status("verifying"), ExitStack() as stack:
        from autoglm_tvm.compiler.verify import verify

        runner = bundle
        if tracker is not None and key is not None:
            from autoglm_tvm.rpc.session import connect

            session = stack.enter_context(connect(tracker, key))
            runner = session.open_bundle(bundle)
        arrays = load_inputs(inputs) if inputs is not None else None
        result = verify(
            runner, reference, arrays, per_layer=per_layer, tolerance=tolerance, shapes=shapes
        )
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1, allow_nan=False))
    else:
        _print(result, where=f"device {key!r}" if key is not None else "this machine")
    raise typer.Exit(0 if result.ok else 1)


def _print(result: VerifyResult, where: str) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"outputs, {result.inputs} inputs, run on {where}", highlight=False)
    console.print(_table(result.outputs))
    if result.layers:
        console.print("layers, in the order of execution")
        console.print(_table(result.layers))
    if not result.same_model:
        console.print("note: the reference is not the file that the bundle was compiled from")
    verdict = "right" if result.ok else "WRONG"
    off = [error for error in result.outputs if result.ok and error.relative > result.tolerance]
    drowned = sum(error.within(result.tolerance) for error in off)
    if drowned:
        console.print(f"note: {drowned} of the outputs are as small as the reference's own noise")
    if len(off) > drowned:
        console.print(
            f"note: {len(off) - drowned} of the outputs are off by quantization steps, but not by "
            "more than float rounding between integers explains"
        )
    console.print(
        f"{verdict}: largest relative error {result.worst.relative:.2e}, "
        f"tolerance {result.tolerance:.0e}",
        highlight=False,
    )


def _table(errors: Sequence[TensorError]) -> object:
    from rich.table import Table

    table = Table("tensor", "relative", "max abs", "cosine", "remark")
    for error in errors:
        row = (f"{error.relative:.2e}", f"{error.max_abs:.2e}", f"{error.cosine:.7f}")
        table.add_row(error.name, *row, error.detail)
    return table
