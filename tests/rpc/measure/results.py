"""A result as a phone would give it, with something in every field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoglm_tvm.rpc.measure.cores import clusters, read_cores
from autoglm_tvm.rpc.measure.power import Energy
from autoglm_tvm.rpc.measure.profile import KernelTime, Profile
from autoglm_tvm.rpc.measure.result import BenchResult, CoreUse, MemoryUse
from autoglm_tvm.rpc.measure.sampling import Reading, WarmUp
from autoglm_tvm.rpc.measure.statistics import Sample, summarize
from autoglm_tvm.rpc.measure.sustained import Point, conclude
from autoglm_tvm.rpc.measure.thermal import GateResult, read_zones
from tests.rpc.measure.fakes import cpu_files, thermal_files

CORES = cpu_files([250] * 4 + [1024] * 4, [1800] * 4 + [2800] * 4)


def phone_result(kernels: int = 30, minutes: float = 10) -> BenchResult:
    """Return a made measurement of a phone that throttles."""
    rng = np.random.default_rng(0)
    hit = rng.random(400) < 0.06
    times = 0.0124 + 0.0004 * rng.gamma(2.0, 1.0, 400) + hit * 0.006
    samples = tuple(Sample(float(t), bool(h)) for t, h in zip(times, hit, strict=True))
    before = read_zones(thermal_files(("cpu-0-0", 38200), ("cpu-1-7", 39800), ("battery", 30000)))
    after = read_zones(thermal_files(("cpu-0-0", 71400), ("cpu-1-7", 78900), ("battery", 33000)))
    found = tuple(clusters(read_cores(CORES)))
    energy = Energy("battery 'battery', current x voltage", 45.0, 10.2, 780, "")
    return BenchResult(
        bundle="mobilenet_v2",
        target="android-arm64",
        model_sha256="0" * 64,
        where="device 'pixel8' at 127.0.0.1:9091",
        processor="Tensor <G3>",
        started="2026-01-02T03:04:05Z",
        inputs="given",
        cores=CoreUse("big", "4-7", 4, found, found),
        gate=GateResult(45, 130.0, replace(before[1], celsius=52.0), before[1]),
        warm_up=WarmUp(1.6, 120, True, 20, (0.0131, 0.0129, 0.0129)),
        latency=summarize(samples),
        samples=samples,
        readings=(Reading(0, 39.8, 2800, None), Reading(1, 44.0, 2800, 4.4)),
        zones_before=tuple(before),
        zones_after=tuple(after),
        memory=MemoryUse(11 << 20, 43 << 20),
        energy=energy,
        sustained=conclude(_points(minutes), energy),
        profile=_profile(kernels),
        notes=("it throttles: 1.42 times the time at the end", "a note with <b> in it"),
    )


def _points(minutes: float) -> list[Point]:
    rng = np.random.default_rng(1)
    points = []
    for second in range(1, int(minutes * 60) + 1, 2):
        heat = 1 - np.exp(-second / 100)
        slow = 1 + 0.45 * max(0.0, heat - 0.6)
        p50 = 0.0129 * slow * (1 + 0.005 * rng.standard_normal())
        points.append(
            Point(float(second), p50, 1.06 * p50, 75, 0.04, 40 + 40 * heat, 2800 / slow, 4.5 / slow)
        )
    return points


def _profile(count: int) -> Profile:
    shares = np.geomspace(1, 0.01, count)
    shares = shares / shares.sum()
    kernels = [
        KernelTime(
            f"fused_conv2d_add_clip_with_a_name_longer_than_any_label{i}",
            1 + i % 3,
            float(0.0125 * share),
            float(share),
            ("conv2d", "add", "clip"),
            "contraction: 8x8 tiles in registers",
        )
        for i, share in enumerate(shares)
    ]
    return Profile(tuple(kernels), 20, 0.0131)
