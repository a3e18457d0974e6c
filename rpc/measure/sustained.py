"""Minutes under load: how latency, temperature and frequency go, and whether the chip throttles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from autoglm_tvm.rpc.measure.power import Energy
from autoglm_tvm.rpc.measure.sampling import MOST_RUNS, Monitor, Reading, block_seconds
from autoglm_tvm.rpc.measure.statistics import Sample, summarize
from autoglm_tvm.rpc.measure.subject import Subject

# Share of interrupted runs up to which other programs explain nothing.
_QUIET = 0.1
# How much slower the last minute may be than the first before it is said to be slower: three times
# what a run-to-run comparison of a quiet device shows.
_SLOWER = 1.05
_COMPARED_S = 60.0


@dataclass(frozen=True)
class Point:
    """A block of about a second: latency in seconds, and the device behind it.

    ``interrupted`` is the share of the runs that were; they are not in the latency.
    """

    at: float
    p50: float
    p90: float
    runs: int
    interrupted: float
    celsius: float | None
    mhz: float | None
    watts: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, latencies in milliseconds."""
        fields = asdict(self)
        latencies = {f"{name}_ms": fields.pop(name) * 1e3 for name in ("p50", "p90")}
        return {**fields, **latencies}


@dataclass(frozen=True)
class Sustained:
    """What minutes under load have shown.

    Attributes
    ----------
    points
        One for each block, in order.
    first, last
        Median latency, in seconds, of the first and the last minute (of the first and last third
        where it took less than three minutes).
    compared_s
        How long these are.
    first_interrupted, last_interrupted
        Share of interrupted runs in each.
    """

    seconds: float
    runs: int
    points: tuple[Point, ...]
    first: float
    last: float
    compared_s: float
    first_interrupted: float
    last_interrupted: float
    energy: Energy

    @property
    def slowdown(self) -> float:
        """Latency at the end over latency at the beginning."""
        return self.last / self.first

    @property
    def slower(self) -> bool:
        """Whether it became clearly slower."""
        return self.slowdown > _SLOWER

    @property
    def disturbed(self) -> bool:
        """Whether other programs may have made it slower.

        Where nearly all runs are interrupted from the beginning on, they are long, and that says
        nothing.
        """
        more = self.last_interrupted - self.first_interrupted
        return more > _QUIET or _QUIET < self.last_interrupted < 1 - _QUIET

    @property
    def throttled(self) -> bool:
        """Whether it became slower, and not because other programs took its cores."""
        return self.slower and not self.disturbed

    @property
    def hottest_c(self) -> float | None:
        """Highest temperature on the way."""
        return max((p.celsius for p in self.points if p.celsius is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, latencies in milliseconds."""
        return {
            "seconds": self.seconds,
            "runs": self.runs,
            "compared_s": self.compared_s,
            "first_p50_ms": self.first * 1e3,
            "last_p50_ms": self.last * 1e3,
            "slowdown": self.slowdown,
            "throttled": self.throttled,
            "first_interrupted": self.first_interrupted,
            "last_interrupted": self.last_interrupted,
            "hottest_c": self.hottest_c,
            "energy": self.energy.to_json(),
            "points": [point.to_json() for point in self.points],
        }


def run_sustained(
    subject: Subject,
    monitor: Monitor,
    minutes: float,
    run_s: float,
    report: Callable[[float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Sustained:
    """Keep the device under load; at least three blocks are run.

    Parameters
    ----------
    run_s
        About how long a run takes, in seconds.
    report
        Told the seconds that have passed, behind every block.
    """
    block_s = block_seconds(subject, run_s)
    start = clock()
    points: list[Point] = []
    while len(points) < 3 or clock() - start < minutes * 60:
        samples = subject.run(MOST_RUNS, block_s)
        reading = monitor.look(len(samples) + subject.untimed_runs)
        points.append(_point(samples, clock() - start, reading))
        if report is not None:
            report(clock() - start)
    return conclude(points, monitor.energy)


def _point(samples: Sequence[Sample], at: float, reading: Reading) -> Point:
    summary = summarize(samples)
    share = summary.interrupted / len(samples)
    device = (reading.celsius, reading.mhz, reading.watts)
    return Point(at, summary.p50, summary.p90, len(samples), share, *device)


def conclude(points: Sequence[Point], energy: Energy) -> Sustained:
    """Compare the beginning with the end; there are three points or more."""
    seconds = points[-1].at
    compared = min(_COMPARED_S, seconds / 3)
    first = [point for point in points if point.at <= compared] or [points[0]]
    last = [point for point in points if point.at > seconds - compared]
    return Sustained(
        seconds=seconds,
        runs=sum(point.runs for point in points),
        points=tuple(points),
        first=median([point.p50 for point in first]),
        last=median([point.p50 for point in last]),
        compared_s=compared,
        first_interrupted=_interrupted(first),
        last_interrupted=_interrupted(last),
        energy=energy,
    )


def _interrupted(points: Sequence[Point]) -> float:
    """Return the share of interrupted runs in several points."""
    return sum(p.interrupted * p.runs for p in points) / sum(p.runs for p in points)
