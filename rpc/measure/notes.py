"""What makes a measurement worth less than it seems, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autoglm_tvm.rpc.measure.cores import Cluster, parse_cpus
from autoglm_tvm.rpc.measure.result import BenchResult

_MANY_INTERRUPTED = 0.1
_WIDE_SPREAD = 0.1
_P99_SAMPLES = 100
# A limit this far below the highest frequency slows the network down noticeably.
_LIMITED = 0.98


def notes_on(result: BenchResult, *, threads_wanted: int, emulated: bool) -> BenchResult:
    """Return the result with its notes.

    Parameters
    ----------
    threads_wanted
        Threads that were asked for, or that the bundle was compiled for.
    emulated
        Whether an arm64 device runs on a PC's processor.
    """
    notes = [*_on_the_device(result, threads_wanted, emulated), *_on_the_numbers(result)]
    return replace(result, notes=tuple(notes))


def _on_the_device(result: BenchResult, threads_wanted: int, emulated: bool) -> Iterator[str]:
    cores = result.cores
    if emulated:
        yield "this device is emulated: its times say nothing about a phone"
    if cores.refusal:
        yield f"not pinned to the {cores.asked} cores: {cores.refusal}"
    if cores.threads < threads_wanted:
        yield f"{cores.threads} of {threads_wanted} threads, as there are no more cores for them"
    for cluster in _used(cores.after, cores.pinned):
        if cluster.limit_mhz and cluster.max_mhz and cluster.limit_mhz < _LIMITED * cluster.max_mhz:
            yield (
                f"the system holds the cores {cluster.cpus} at {cluster.limit_mhz:.0f} of "
                f"{cluster.max_mhz:.0f} MHz: hot, or saving power"
            )


def _used(clusters: tuple[Cluster, ...], pinned: str) -> list[Cluster]:
    used = set(parse_cpus(pinned))
    return [cluster for cluster in clusters if used.intersection(parse_cpus(cluster.cpus))]


def _on_the_numbers(result: BenchResult) -> Iterator[str]:
    latency = result.latency
    warm = result.warm_up
    if not warm.limit_s:
        yield "no warm-up was asked for: the first runs are slower"
    elif not warm.stable:
        yield f"the latency had not become stable after {warm.limit_s:g} s of warm-up"
    interrupted = latency.interrupted / len(result.samples)
    if not latency.excluded:
        yield (
            "nearly every run was interrupted at least once, so interrupted runs are in the "
            "numbers: the runs are long, or other programs use these cores"
        )
    elif interrupted > _MANY_INTERRUPTED:
        yield f"{interrupted:.0%} of the runs were interrupted: other programs use these cores"
    if latency.iqr > _WIDE_SPREAD * latency.p50:
        yield (
            f"wide spread: the middle half of the runs differs by {latency.iqr / latency.p50:.0%}"
        )
    if latency.count < _P99_SAMPLES:
        yield f"p99 of {latency.count} samples is hardly more than the slowest of them"
    sustained = result.sustained
    if sustained is not None and sustained.throttled:
        yield f"it throttles: {sustained.slowdown:.2f} times the time at the end"
    elif sustained is not None and sustained.slower:
        yield (
            f"under load it became slower ({sustained.slowdown:.2f} times), but other programs "
            f"interrupted {sustained.last_interrupted:.0%} of the last runs: this says nothing of "
            "heat"
        )
