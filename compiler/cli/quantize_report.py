"""What a quantization cost, for people: tables on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm_tvm.compiler.integer.node_execution import NodeExecution
    from autoglm_tvm.compiler.quantization.accuracy import AccuracyReport
    from autoglm_tvm.compiler.quantization.layer_error import LayerError
    from autoglm_tvm.compiler.quantization.search_exceptions import SearchResult
    from autoglm_tvm.compiler.quantize_onnx import QuantizedOnnx

# Rows of the layers' table; all are in the JSON report and in the picture.
_MOST_LAYERS = 20


def print_quantized(result: QuantizedOnnx) -> None:
    """Print the recipe's precisions, accuracy, size, layers, and what was searched."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    counts = Counter(result.quantized.precisions.values())
    chosen = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    console.print(f"recipe   {result.recipe.name}: {chosen or 'no node'}", markup=False)
    for note in result.quantized.notes:
        console.print(f"note     {note}", markup=False)
    if result.accuracy is None:
        console.print("accuracy was not measured; give --calibration DATA")
        return
    print_accuracy(console, result.accuracy)
    if result.search is not None:
        _print_search(console, result.search)


def print_execution(console: Any, nodes: Sequence[NodeExecution]) -> None:
    """Print how many nodes of a quantized model run as integers, in half and in float."""
    from autoglm_tvm.compiler.integer.node_execution import refused, shares

    for share in shares(nodes):
        part = share.of_multiply_adds
        work = "" if part is None else f", {part:.1%} of multiply-adds"
        console.print(f"{share.runs:8} {share.nodes} nodes{work}", markup=False)
    more = sum(len(group.names) for group in refused(nodes))
    if more:
        console.print(f"refused  {more} nodes; `autoglm-tvm explain BUNDLE` says why", markup=False)


def print_accuracy(console: Any, report: AccuracyReport) -> None:
    """Print an accuracy report on a `rich.console.Console`."""
    from autoglm_tvm.compiler.quantization.accuracy import RANDOM_DATA, size_change

    console.print(
        f"weights  {size_change(report.weights_before, report.weights_after)}", markup=False
    )
    if report.random:
        console.print(f"accuracy {RANDOM_DATA}", style="bold red", markup=False)
    console.print(f"accuracy against the float model, {report.inputs}", markup=False)
    console.print(_outputs(report))
    if report.layers:
        console.print(
            "layers, each quantized alone, the worst first; `drop` is what the outputs lose by it"
        )
        console.print(_layers(report.layers[:_MOST_LAYERS]))
        more = len(report.layers) - _MOST_LAYERS
        if more > 0:
            console.print(f"and {more} more; --report FILE.json or FILE.png has them all")


def _outputs(report: AccuracyReport) -> object:
    from rich.table import Table

    table = Table("output", "SQNR", "cosine", "max abs", "relative", "top-1")
    for item in report.outputs:
        same = "-" if item.top1 is None else f"{item.top1:.2%} of {item.decisions}"
        table.add_row(
            item.name,
            _decibel(item.sqnr_db),
            f"{item.cosine:.6f}",
            f"{item.max_abs:.2e}",
            f"{item.relative:.2e}",
            same,
        )
    return table


def _layers(layers: Sequence[LayerError]) -> object:
    from rich.table import Table

    table = Table("layer", "operator", "precision", "SQNR", "drop")
    for layer in layers:
        table.add_row(
            layer.name,
            layer.op_type,
            layer.precision,
            _decibel(layer.sqnr_db),
            f"{layer.drop:.2%}",
        )
    return table


def _decibel(value: float) -> str:
    return f"{value:.1f} dB" if isfinite(value) else "exact"


def _print_search(console: Any, search: SearchResult) -> None:
    if not search.raised:
        console.print(
            f"target   met by the recipe as it is: drop {search.drop:.2%}, "
            f"allowed {search.target:.2%}"
        )
        return
    console.print(
        f"target   met: drop {search.drop:.2%}, allowed {search.target:.2%}; "
        f"{search.drop_before:.2%} before these exceptions; {search.evaluations} models measured"
    )
    for name in search.raised:
        console.print(f"except   {name}: {search.precisions[name]}", markup=False)
