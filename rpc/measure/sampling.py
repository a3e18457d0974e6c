"""Runs in blocks, with a look at temperature, frequency and power behind each block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.rpc.measure.cores import mean_mhz, read_cores
from autoglm_tvm.rpc.measure.power import Energy, EnergyMeter, read_power
from autoglm_tvm.rpc.measure.statistics import Sample, summarize
from autoglm_tvm.rpc.measure.subject import Subject
from autoglm_tvm.rpc.measure.thermal import hottest_cpu_zone

# Seconds of a block: long against what is between two of them, short against how fast a chip heats.
BLOCK_S = 1.0
_RUNS_PER_CALL, _LONGEST_BLOCK_S = 10, 20.0
# Runs of a block, so that a tiny network's timings stay a small message.
MOST_RUNS = 20_000
# Latest medians that must agree, and how well, before a network counts as warm.
_STABLE_WINDOWS, _STABLE_WITHIN = 3, 0.03
_WINDOW_S = 0.5


@dataclass(frozen=True)
class Reading:
    """The device at one moment, ``at`` seconds after the measurement began.

    What the device does not expose is None.
    """

    at: float
    celsius: float | None
    mhz: float | None
    watts: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Monitor:
    """Reads temperature, frequency of the pinned cores and power; integrates the energy."""

    def __init__(
        self,
        subject: Subject,
        cpus: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subject = subject
        self._cpus = frozenset(cpus)
        self._clock = clock
        self._start = clock()
        self._meter = EnergyMeter()
        self.readings: list[Reading] = []
        self.look(0)

    def look(self, runs: int) -> Reading:
        """Take a reading; ``runs`` have happened since the last one."""
        at = self._clock() - self._start
        zone = hottest_cpu_zone(self._subject.read("thermal"))
        cores = read_cores(self._subject.read("cpu"))
        reading = Reading(
            at,
            zone.celsius if zone else None,
            mean_mhz([core for core in cores if core.number in self._cpus]),
            self._meter.add(at, read_power(self._subject.read("power")), runs),
        )
        self.readings.append(reading)
        return reading

    @property
    def energy(self) -> Energy:
        """Energy from the first reading to the last one."""
        return self._meter.result()


@dataclass(frozen=True)
class WarmUp:
    """How the network became warm.

    Attributes
    ----------
    medians
        Of each window, in seconds, without interrupted runs.
    stable
        Whether the last ones agree within 3 %.
    """

    seconds: float
    runs: int
    stable: bool
    limit_s: float
    medians: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, windows in milliseconds."""
        return {
            "seconds": self.seconds,
            "runs": self.runs,
            "stable": self.stable,
            "limit_s": self.limit_s,
            "window_medians_ms": [value * 1e3 for value in self.medians],
        }


def warm_up(
    run: Callable[[int, float], list[Sample]],
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> WarmUp:
    """Run until the medians of three windows in a row agree, at most ``limit_s`` seconds.

    Parameters
    ----------
    run
        Takes a number of runs and a time limit in seconds, as `Subject.run`.
    """
    start = clock()
    medians: list[float] = []
    runs = 0
    stable = False
    while not stable and clock() - start < limit_s:
        samples = run(MOST_RUNS, _WINDOW_S)
        runs += len(samples)
        medians.append(summarize(samples).p50)
        last = medians[-_STABLE_WINDOWS:]
        stable = len(last) == _STABLE_WINDOWS and max(last) <= min(last) * (1 + _STABLE_WITHIN)
    return WarmUp(clock() - start, runs, stable, limit_s, tuple(medians))


def block_seconds(subject: Subject, run_s: float) -> float:
    """Return how long a block shall be for a network of ``run_s`` seconds: about a second."""
    # A call to a device begins with a run that is not timed, and shall not be mostly that.
    slow = _RUNS_PER_CALL * run_s if subject.untimed_runs else 0.0
    return min(max(BLOCK_S, slow), _LONGEST_BLOCK_S)


def take_samples(
    subject: Subject,
    monitor: Monitor,
    count: int,
    least: int,
    limit_s: float,
    run_s: float,
    report: Callable[[int], None] | None = None,
) -> list[Sample]:
    """Return ``count`` timings, or at least ``least`` where more take longer than ``limit_s``.

    Parameters
    ----------
    run_s
        About how long a run takes, in seconds.
    report
        Told how many there are, behind every block.
    """
    block_s = block_seconds(subject, run_s)
    samples: list[Sample] = []
    start = time.monotonic()
    while len(samples) < count:
        if len(samples) >= least and time.monotonic() - start >= limit_s:
            break
        block = subject.run(min(count - len(samples), MOST_RUNS), block_s)
        samples += block
        monitor.look(len(block) + subject.untimed_runs)
        if report is not None:
            report(len(samples))
    return samples
