"""The measurement as rows of words: the same for the terminal and for the HTML page."""

from __future__ import annotations

from autoglm_tvm.rpc.measure.cores import Cluster
from autoglm_tvm.rpc.measure.power import Energy
from autoglm_tvm.rpc.measure.result import BenchResult, MemoryUse
from autoglm_tvm.rpc.measure.sampling import WarmUp
from autoglm_tvm.rpc.measure.statistics import Summary
from autoglm_tvm.rpc.measure.sustained import Sustained
from autoglm_tvm.rpc.measure.thermal import Zone, cpu_zones

Row = tuple[str, str]
_MOST_ZONES = 4


def latency_rows(summary: Summary) -> list[Row]:
    """The numbers themselves."""
    interrupted = ""
    if summary.interrupted_p50 is not None:
        fate = "left out" if summary.excluded else "and hardly any others, so all are counted"
        middle = milliseconds(summary.interrupted_p50)
        interrupted = f"; {summary.interrupted} interrupted (their p50: {middle}), {fate}"
    spread = f"{milliseconds(summary.iqr)} between the quartiles, MAD {milliseconds(summary.mad)}"
    return [
        ("p50", milliseconds(summary.p50)),
        ("p90", milliseconds(summary.p90)),
        ("p99", milliseconds(summary.p99)),
        ("mean", milliseconds(summary.mean)),
        ("range", f"{milliseconds(summary.minimum)} to {milliseconds(summary.maximum)}"),
        ("spread", spread),
        ("runs", f"{summary.count} counted{interrupted}; {summary.outliers} outliers among them"),
    ]


def circumstance_rows(result: BenchResult) -> list[Row]:
    """What the numbers were taken under."""
    rows = [
        ("device", ", ".join(text for text in (result.where, result.processor) if text)),
        ("bundle", f"{result.bundle} for {result.target}"),
        ("inputs", result.inputs),
        ("cores", _cores(result)),
        *((f"cores {c.cpus}", _cluster(c, after)) for c, after in _pairs(result)),
        ("temperature", _temperatures(result.zones_before, result.zones_after)),
    ]
    if result.gate is not None:
        gate = result.gate
        rows.append(
            (
                "cooled",
                f"{gate.waited_s:.0f} s, from {gate.before.celsius:.1f} to "
                f"{gate.after.celsius:.1f} °C ({gate.after.label}, limit {gate.limit_c:g})",
            )
        )
    rows += [
        ("warm-up", _warm_up(result.warm_up)),
        ("memory", _memory(result.memory)),
        ("energy", energy_text(result.energy)),
    ]
    return rows


def sustained_rows(sustained: Sustained) -> list[Row]:
    """What minutes under load have shown."""
    span = f"{sustained.compared_s:.0f} s"
    verdict = (
        "slower, but other programs use these cores" if sustained.slower else "holds its speed"
    )
    verdict = "throttles" if sustained.throttled else verdict
    rows = [
        ("under load", f"{sustained.seconds / 60:.1f} min, {sustained.runs} runs"),
        (f"first {span}", f"p50 {milliseconds(sustained.first)}"),
        (f"last {span}", f"p50 {milliseconds(sustained.last)}"),
        ("verdict", f"{verdict}: {sustained.slowdown:.2f} times the time at the end"),
    ]
    if sustained.hottest_c is not None:
        start = next(p.celsius for p in sustained.points if p.celsius is not None)
        rows.append(
            ("temperature", f"{start:.1f} °C at first, {sustained.hottest_c:.1f} °C at most")
        )
    if sustained.energy.joules is not None:
        rows.append(("energy", energy_text(sustained.energy)))
    return rows


def milliseconds(seconds: float) -> str:
    """Write a time with four digits that matter, or so."""
    value = seconds * 1e3
    if value >= 100:
        return f"{value:.1f} ms"
    return (
        f"{value:.2f} ms" if value >= 10 else f"{value:.4f} ms" if value < 1 else f"{value:.3f} ms"
    )


def energy_text(energy: Energy) -> str:
    """Write the energy of a run and the power, or why there is none."""
    if energy.watts is None or energy.joules_per_run is None:
        return energy.reason
    return f"{energy.joules_per_run * 1e3:.3g} mJ a run, {energy.watts:.2f} W ({energy.source})"


def _cores(result: BenchResult) -> str:
    cores = result.cores
    how = f"pinned to {cores.pinned}" if not cores.refusal else f"not pinned ({cores.pinned})"
    threads = f"{cores.threads} thread{'s' if cores.threads > 1 else ''}"
    return f"{threads}, {how} (asked for: {cores.asked})"


def _pairs(result: BenchResult) -> list[tuple[Cluster, Cluster | None]]:
    after = {cluster.cpus: cluster for cluster in result.cores.after}
    return [(cluster, after.get(cluster.cpus)) for cluster in result.cores.before]


def _cluster(before: Cluster, after: Cluster | None) -> str:
    words = [before.kind] if before.kind else []
    words.append(f"governor {before.governor or 'not exposed'}")
    if after is not None and after.governor != before.governor:
        words.append(f"then {after.governor}")
    if before.max_mhz:
        words.append(f"up to {before.max_mhz:.0f} MHz")
    if before.mhz and after is not None and after.mhz:
        words.append(f"{before.mhz:.0f} MHz before and {after.mhz:.0f} after")
    return ", ".join(words)


def _temperatures(before: tuple[Zone, ...], after: tuple[Zone, ...]) -> str:
    later = {zone.name: zone.celsius for zone in after}
    zones = sorted(cpu_zones(before), key=lambda zone: -later.get(zone.name, zone.celsius))
    texts = [
        f"{zone.label} {zone.celsius:.1f} → {later[zone.name]:.1f} °C"
        for zone in zones[:_MOST_ZONES]
        if zone.name in later
    ]
    more = len(zones) - _MOST_ZONES
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "") or "not exposed"


def _warm_up(warm: WarmUp) -> str:
    if not warm.runs:
        return "none"
    end = "then stable" if warm.stable else "NOT stable even then"
    return f"{warm.seconds:.1f} s, {warm.runs} runs, {end}"


def _memory(memory: MemoryUse) -> str:
    if memory.peak is None:
        return "not exposed"
    peak = f"{memory.peak / 2**20:.1f} MiB at most"
    return (
        peak if memory.added is None else f"{peak}, {memory.added / 2**20:.1f} of it by the bundle"
    )
