"""Both profiles of a model as text: our kernels with their schedules, and ONNX Runtime's nodes."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.installed import YARDSTICK

_MOST = 60
_INDENT = " " * 22


def profile_text(row: dict[str, Any]) -> str:
    """Return the kernels and nodes of a measured row, the slowest first.

    GFLOP/s counts the multiply-adds of convolutions and products twice; GB/s is every argument of
    a kernel once.
    """
    ours, theirs = row["profile"]["ours"], row["profile"][YARDSTICK]
    title = f"{row['model']}, threads {row['threads']}"
    stages = ", ".join(f"{name} {time:.2f} s" for name, time in row["stage_seconds"].items())
    total = sum(kernel["microseconds"] for kernel in ours)
    text = [f"\n{title}: compiled in {stages}"] if stages else []
    run = 1e3 * row["milliseconds"]["ours"]
    calls = f"{total:.0f} us in {row['kernel_calls']} kernel calls of a run of {run:.0f} us"
    text += [f"\n{title}: ours, {calls}", f"{_INDENT}{_by_rule(ours, total)}"]
    text += [_kernel_text(kernel, total) for kernel in ours[:_MOST]]
    total = sum(node["microseconds"] for node in theirs)
    text.append(f"\n{title}: {YARDSTICK}, {total:.0f} us in {len(theirs)} nodes (its own profiler)")
    text += [
        f"{_time(node['microseconds'], total)}  {node['operator']}  {node['node']}"
        f"  {' '.join(node['shapes'])}"
        for node in theirs[:_MOST]
    ]
    return "\n".join(text)


def _by_rule(kernels: list[dict[str, Any]], total: float) -> str:
    """Return each rule's share of the time; a schedule begins with the name of its rule."""
    shares: dict[str, float] = {}
    for kernel in kernels:
        rule = kernel["schedule"].partition(":")[0]
        shares[rule] = shares.get(rule, 0.0) + kernel["microseconds"] / total
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{rule} {share:.1%}" for rule, share in ordered)


def _kernel_text(kernel: dict[str, Any], total: float) -> str:
    microseconds = kernel["microseconds"]
    calls = f" x{kernel['calls']}" if kernel["calls"] > 1 else ""
    rates = [f"{kernel['nbytes'] / microseconds / 1e3:.1f} GB/s"]
    if kernel["multiply_adds"]:
        rates.insert(0, f"{2 * kernel['multiply_adds'] / microseconds / 1e3:.1f} GFLOP/s")
    tensors = kernel["tensors"]
    names = ", ".join(tensors[:3]) + (", ..." if len(tensors) > 3 else "")
    return "\n".join(
        [
            f"{_time(microseconds, total)}  {kernel['function']}{calls}  {', '.join(rates)}",
            f"{_INDENT}{kernel['schedule']}",
            f"{_INDENT}{' '.join(kernel['operators'])}:  {' '.join(kernel['shapes'])}"
            + (f"  -> {names}" if names else ""),
        ]
    )


def _time(microseconds: float, total: float) -> str:
    return f"{microseconds:10.1f} us {microseconds / total:5.1%}"
