"""The measurement protocol, to be read from top to bottom."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.bundle import Bundle, read_bundle
from autoglm_tvm.rpc.measure.cores import (
    WORDS,
    Cluster,
    choose_cpus,
    clusters,
    format_cpus,
    parse_cpus,
    read_cores,
)
from autoglm_tvm.rpc.measure.here import LocalSubject
from autoglm_tvm.rpc.measure.inputs import Shapes, choose_inputs
from autoglm_tvm.rpc.measure.notes import notes_on
from autoglm_tvm.rpc.measure.on_device import DeviceSubject
from autoglm_tvm.rpc.measure.options import BenchOptions
from autoglm_tvm.rpc.measure.profile import profile
from autoglm_tvm.rpc.measure.result import BenchResult, CoreUse, MemoryUse
from autoglm_tvm.rpc.measure.sampling import Monitor, take_samples, warm_up
from autoglm_tvm.rpc.measure.statistics import summarize
from autoglm_tvm.rpc.measure.subject import Subject
from autoglm_tvm.rpc.measure.sustained import Sustained, run_sustained
from autoglm_tvm.rpc.measure.thermal import (
    GateResult,
    TemperatureGate,
    hottest_cpu_zone,
    read_zones,
)
from autoglm_tvm.rpc.session import DeviceSession
from autoglm_tvm.targets.errors import MissingToolError, UserInputError

if TYPE_CHECKING:
    import numpy as np

Report = Callable[[str], None]

# Where the number of samples is not given: as many as fit into the time, between the bounds.
_LEAST_SAMPLES, _MOST_SAMPLES, _SAMPLING_S = 10, 2000, 10.0
_MINUTE = 60.0
_DEVICE_LIMIT_C = 50.0
_VENDORS_OF_PCS = re.compile(r"GenuineIntel|AuthenticAMD")


def bench(
    bundle: str | Path,
    session: DeviceSession | None = None,
    options: BenchOptions | None = None,
    *,
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Shapes | None = None,
    progress: Report | None = None,
) -> BenchResult:
    """Measure how fast a bundle runs, and say under which circumstances.

    Parameters
    ----------
    bundle
        The bundle's folder.
    session
        A device (`autoglm_tvm.rpc.connect`); this machine where it is None. Take a fresh one: what
        a session has loaded before stays in its memory.
    options
        How to measure.
    inputs
        One array for each input; by default made ones.
    shapes
        Shapes of made inputs whose dimensions are symbolic.
    progress
        Told what is going on, in a few words.

    Raises
    ------
    UserInputError
        An option, an input or the bundle cannot be used.
    CheckFailedError
        The device does not cool down in time, or a file of the bundle was changed.
    MissingToolError
        The device has gone, or cannot do what was asked for.
    """
    options = options or BenchOptions()
    options.check()
    opened = read_bundle(bundle)
    described, arrays = choose_inputs(opened.manifest.inputs, shapes or {}, inputs)
    subject: Subject = LocalSubject() if session is None else DeviceSubject(session)
    with subject:
        return _measure(subject, opened, options, described, arrays, progress or _silent)


def _measure(
    subject: Subject,
    bundle: Bundle,
    options: BenchOptions,
    described: str,
    arrays: Mapping[str, np.ndarray],
    report: Report,
) -> BenchResult:
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    # 1. The cores, before there is a thread that would have to move.
    files = subject.read("cpu")
    pinned, refusal = _pin(subject, files, options.cpus)
    threads = _threads(bundle, options, pinned)

    # 2. The bundle and its inputs, and the memory that they take.
    report("loading")
    subject.reset_peak_memory()
    memory_before = subject.peak_memory()
    threads = subject.load(bundle, threads, arrays)

    # 3. A cool start.
    gate = _wait_until_cool(subject, options, report)
    zones_before = tuple(read_zones(subject.read("thermal")))
    clusters_before = _clusters(subject)

    # 4. Warm caches, and a governor that has noticed the load.
    report("warming up")
    warm = warm_up(subject.run, options.warm_up_s)

    # 5. The samples.
    monitor = Monitor(subject, pinned)
    count = options.samples or _MOST_SAMPLES
    samples = take_samples(
        subject,
        monitor,
        count,
        least=options.samples or _LEAST_SAMPLES,
        limit_s=_SAMPLING_S,
        run_s=warm.medians[-1] if warm.medians else 0.0,
        report=lambda done: report(f"measuring: {done} of at most {count} runs"),
    )

    # 6. Minutes under load.
    latency = summarize(samples)
    sustained = _sustain(subject, pinned, options.sustained_min, latency.p50, report)
    zones_after = tuple(read_zones(subject.read("thermal")))
    clusters_after = _clusters(subject)
    peak = subject.peak_memory()

    # 7. The kernels, last: on this machine the timer's hook stays and costs time.
    if options.profile:
        report("timing each kernel")
    kernels = profile(subject, bundle.manifest) if options.profile else None

    manifest = bundle.manifest
    result = BenchResult(
        bundle=manifest.name,
        target=str(manifest.target["name"]),
        model_sha256=manifest.model_sha256,
        where=subject.where,
        processor=_processor(files),
        started=started,
        inputs=described,
        cores=CoreUse(
            options.cpus, format_cpus(pinned), threads, clusters_before, clusters_after, refusal
        ),
        gate=gate,
        warm_up=warm,
        latency=latency,
        samples=tuple(samples),
        readings=tuple(monitor.readings),
        zones_before=zones_before,
        zones_after=zones_after,
        memory=MemoryUse(memory_before, peak),
        energy=monitor.energy,
        sustained=sustained,
        profile=kernels,
        notes=(),
    )
    emulated = manifest.target["arch"] == "aarch64" and bool(
        _VENDORS_OF_PCS.search(files.get("/proc/cpuinfo", ""))
    )
    wanted = options.threads or int(manifest.target["threads"])
    return notes_on(result, threads_wanted=wanted, emulated=emulated)


def _pin(subject: Subject, files: Mapping[str, str], asked: str) -> tuple[list[int], str]:
    """Pin; return the cores in force and, where a default choice was refused, why."""
    allowed = parse_cpus(subject.pin(""))
    cores = [core for core in read_cores(files) if core.number in allowed]
    chosen = choose_cpus(asked, cores)
    try:
        return parse_cpus(subject.pin(format_cpus(chosen))), ""
    except MissingToolError as error:
        if asked not in WORDS:
            raise
        return allowed, error.what


def _threads(bundle: Bundle, options: BenchOptions, cpus: list[int]) -> int:
    most = len(cpus) or 1
    if options.threads is not None and options.threads > most:
        raise UserInputError(
            f"no cores for {options.threads} threads: {most} in use ({format_cpus(cpus)})",
            where="--threads",
            hint=f"give --threads {most} or less, or more cores with --cpus all",
        )
    return options.threads or min(int(bundle.manifest.target["threads"]), most)


def _wait_until_cool(subject: Subject, options: BenchOptions, report: Report) -> GateResult | None:
    limit_c = options.max_temperature_c
    if limit_c is None:
        shows_one = hottest_cpu_zone(subject.read("thermal")) is not None
        limit_c = _DEVICE_LIMIT_C if subject.is_device and shows_one else math.inf
    if math.isinf(limit_c):
        return None
    gate = TemperatureGate(limit_c, options.cool_timeout_min * _MINUTE)
    return gate.wait(lambda: subject.read("thermal"), subject.where, report)


def _sustain(
    subject: Subject, cpus: list[int], minutes: float, run_s: float, report: Report
) -> Sustained | None:
    if minutes <= 0:
        return None

    def tell(seconds: float) -> None:
        report(f"under load: {seconds / _MINUTE:.1f} of {minutes:g} min")

    return run_sustained(subject, Monitor(subject, cpus), minutes, run_s, tell)


def _clusters(subject: Subject) -> tuple[Cluster, ...]:
    return tuple(clusters(read_cores(subject.read("cpu"))))


def _processor(files: Mapping[str, str]) -> str:
    for key in ("Hardware", "model name", "Model", "Processor"):
        match = re.search(rf"^{key}\s*:\s*(.+)$", files.get("/proc/cpuinfo", ""), re.M)
        if match:
            return match[1].strip()
    return ""


def _silent(_text: str) -> None:
    """Say nothing."""
