"""`autoglm-tvm explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm_tvm.compiler.cli.options import Json, parse_shapes
from autoglm_tvm.compiler.cli.progress_bar import show_progress

if TYPE_CHECKING:
    from autoglm_tvm.compiler.explain import Explanation, KernelExplanation

# Kernels that are shown unless all or certain ones are asked for; names in a list.
_MOST_KERNELS = 20
_MOST_REFUSALS = 12
_MOST_NAMES = 4
_ARITHMETIC = {"integer": "green", "int4": "green", "half": "cyan", "float": "yellow"}
_COLOURS = {"unscheduled": "red", "fallback": "yellow", "special": "green"}


def explain_schedules(
    path: Annotated[Path, typer.Argument(help="A bundle's folder, or an ONNX file.")],
    kernel: Annotated[
        str | None, typer.Option(help="Only kernels whose name fits, such as 'fused_conv2d*'.")
    ] = None,
    tensor: Annotated[
        str | None, typer.Option(help="Only the kernel that computes this ONNX tensor.")
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show also the kernels that a special rule took.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="For an ONNX file: a preset; android-arm64 otherwise."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="For an ONNX file: fix an input's shape, NAME=1,3,224,224."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="For an ONNX file: layout of activations, NCHW or NHWC.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which rule scheduled each kernel, and where none did, which came closest and why not."""
    shapes = parse_shapes(shape or [])
    from rich.console import Console

    with show_progress("loading", path.name) as report:
        from autoglm_tvm.compiler import explain

        if not path.is_dir():
            target = target or "android-arm64"
        found = explain(path, target, shapes, layout=layout, progress=report)
    chosen = found.select(kernel, tensor)
    if as_json:
        typer.echo(json.dumps(chosen.to_json(), indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    if not (kernel or tensor):
        _print_summary(console, found)
        _print_executions(console, found, limit=None if show_all else _MOST_REFUSALS)
    shown = [
        item for item in chosen.kernels if show_all or kernel or tensor or item.kind != "special"
    ]
    _print_kernels(console, shown, found, limit=None if show_all else _MOST_KERNELS)


def _print_summary(console: Any, found: Explanation) -> None:
    from rich.table import Table

    calls = sum(item.calls for item in found.kernels)
    console.print(f"{found.source} for {found.target}", markup=False)
    console.print(f"{len(found.kernels)} kernels in {calls} calls")
    table = Table("rule", "kernels", "calls", "iterations")
    for rule, kernels in found.by_rule().items():
        of_rule = [item for item in found.kernels if item.rule == rule]
        share = _share(sum(item.iterations or 0 for item in of_rule), found)
        number = str(sum(item.calls for item in of_rule))
        table.add_row(
            rule or "unscheduled", str(kernels), number, share, style=_COLOURS[of_rule[0].kind]
        )
    console.print(table)


def _print_executions(console: Any, found: Explanation, limit: int | None) -> None:
    """Of a quantized model: what runs as integers, and what does not and why."""
    if not found.nodes:
        return
    from rich.table import Table

    from autoglm_tvm.compiler.integer.node_execution import refused, shares

    table = Table("arithmetic", "nodes", "multiply-adds")
    for share in shares(found.nodes):
        part = share.of_multiply_adds
        work = "-" if part is None else f"{part:.1%}"
        table.add_row(share.runs, str(share.nodes), work, style=_ARITHMETIC[share.runs])
    console.print(table)
    groups = refused(found.nodes)
    for group in groups[:limit]:
        console.print(str(group), markup=False)
    hidden = 0 if limit is None else len(groups) - limit
    if hidden > 0:
        console.print(f"{hidden} more; --all shows every reason")


def _print_kernels(
    console: Any, kernels: Sequence[KernelExplanation], found: Explanation, limit: int | None
) -> None:
    for item in kernels[:limit]:
        console.print()
        console.print(_heading(item, found), style=f"bold {_COLOURS[item.kind]}", markup=False)
        for label, text in _lines(item):
            console.print(f"  {label:10} {text}", markup=False)
    hidden = len(kernels[limit:]) if limit is not None else 0
    if hidden:
        console.print(f"\n{hidden} more; --all shows every kernel")
    elif not kernels:
        console.print("every kernel has a rule of its family; --all shows them")


def _heading(item: KernelExplanation, found: Explanation) -> str:
    calls = f" x{item.calls}" if item.calls > 1 else ""
    work = "" if item.iterations is None else f", {_share(item.iterations, found)} of iterations"
    return f"{item.function}{calls}: {item.kind}{work}"


def _lines(item: KernelExplanation) -> list[tuple[str, str]]:
    *arguments, result = item.arguments or ("",)
    closest = f"{item.closest_rule} refused: {item.refusal}" if item.closest_rule else ""
    if item.kind != "special" and not closest:
        closest = "no rule has anything in common with it"
    lines = [
        ("operators", " + ".join(item.operators)),
        ("computes", _names(item.tensors)),
        ("inside", _names(item.inner)),
        ("shapes", f"{' '.join(arguments)} -> {result}"),
        ("schedule", f"{item.rule}: {item.description}" if item.rule else item.description),
        ("closest", closest),
        ("hint", item.hint),
    ]
    return [(label, text) for label, text in lines if text]


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _share(iterations: int, found: Explanation) -> str:
    total = sum(item.iterations or 0 for item in found.kernels)
    return f"{iterations / total:.1%}" if total else "-"
