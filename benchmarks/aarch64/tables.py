"""The rows of the benchmark as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.aarch64.hot_code import KernelCount
from benchmarks.aarch64.inner_loop import Loop
from benchmarks.aarch64.machine_code_analysis import Analysis
from benchmarks.report import geometric_mean, text_table

Row = dict[str, Any]


def counts_text(rows: Sequence[Row]) -> str:
    """Return instructions of both sides, the floor, and ratios; a mean for each target."""
    header = ("model", "target", "ours M", "onnxruntime M", "ratio", "floor M", "ours/floor")
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        of_target = [row for row in rows if row["target"] == target]
        good = [row["ratio"] for row in of_target if row.get("right")]
        lines += [_count_line(row) for row in of_target]
        if good:
            mean = f"{geometric_mean(good):.2f}"
            lines.append((f"geometric mean of {len(good)}", target, "", "", mean, "", ""))
    failed = [
        f"{row['model']} for {row['target']}: {row['error']}" for row in rows if "error" in row
    ]
    return "\n".join([text_table(header, lines), *failed])


def _count_line(row: Row) -> tuple[str, ...]:
    if "error" in row:
        return (row["model"], row["target"], "failed", "", "", "", "")
    floor = row["floor"]
    ratio = f"{row['ratio']:.2f}" if row["right"] else f"WRONG by {row['relative_error']}"
    return (
        *(row["model"], row["target"], _millions(row["ours"]), _millions(row["onnxruntime"])),
        *(ratio, _millions(floor), f"{row['ours'] / floor:.2f}" if floor else ""),
    )


def comparison_text(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return what changed in our counts since an earlier run."""
    before = {(row["model"], row["target"]): row["ours"] for row in old if "ours" in row}
    lines = []
    for row in new:
        was = before.get((row["model"], row["target"]))
        if was is None or "ours" not in row or was == row["ours"]:
            continue
        change = f"{row['ours'] / was - 1:+.2%}"
        lines.append((row["model"], row["target"], _millions(was), _millions(row["ours"]), change))
    if not lines:
        return "no count that the earlier run has, too, has changed"
    return text_table(("model", "target", "earlier M", "ours M", "change"), lines)


def analyses_text(rows: Sequence[Row]) -> str:
    """Return what llvm-mca says about the main loops."""
    header = (
        *("model", "target", "side", "core (table)", "FMA use", "cycles"),
        *("FMAs", "loads/FMA", "spills", "instructions", "share"),
    )
    return text_table(header, [_analysis_line(row) for row in rows])


def _analysis_line(row: Row) -> tuple[str, ...]:
    loads, table = row["loads_per_multiply_add"], row["table"]
    return (
        *(row["model"], row["target"], row["side"]),
        row["core"] if table == row["core"] else f"{row['core']} ({table})",
        *(f"{row['pipe_use']:.0%}", f"{row['cycles']:.1f}", str(row["multiply_add_instructions"])),
        *("-" if loads is None else f"{loads:.2f}", str(row["spills"]), str(row["instructions"])),
        f"{row['share']:.0%}",
    )


def kernels_text(kernels: Sequence[KernelCount], total: int, most: int = 30) -> str:
    """Return the heaviest of our kernels, with share, multiple of the floor, and schedule."""
    lines = []
    for kernel in kernels[:most]:
        share = _share(kernel.instructions, total)
        floors = f"{kernel.instructions / kernel.floor:.2f} x floor" if kernel.floor else ""
        lines.append(f"{share} {floors:>14}  x{kernel.calls:<3} {kernel.name}  {kernel.shapes}")
        lines.append(f"{'':42}[{kernel.schedule}]")
    if others := kernels[most:]:
        share = _share(sum(kernel.instructions for kernel in others), total)
        lines.append(f"{share}  {len(others)} other kernels")
    rest = total - sum(kernel.instructions for kernel in kernels)
    return "\n".join([*lines, f"{_share(rest, total)}  outside of kernels"])


def loop_text(loop: Loop, total: int, analyses: Sequence[Analysis]) -> str:
    """Return a loop's code below what is known about it."""
    loads = loop.loads_per_multiply_add
    head = (
        f"loop of {len(loop.body)} instructions, {loop.executed / total:.1%} of all executed: "
        f"{loop.multiply_add_instructions} FMAs, "
        f"{'' if loads is None else f'{loads:.2f} loads/FMA, '}{loop.spills} spills"
    )
    told = [
        f"  {each.core} ({each.table}): {each.cycles:.1f} cycles, FMA use {each.pipe_use:.0%}"
        for each in analyses
    ]
    code = [f"    {each.address:x}  {each}" for each in loop.body]
    return "\n".join([head, *told, *code])


def _share(instructions: int, total: int) -> str:
    return f"{_millions(instructions):>10} M {instructions / total:6.1%}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.3f}" if count < 10e6 else f"{count / 1e6:.1f}"
