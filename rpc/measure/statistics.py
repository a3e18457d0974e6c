"""Timings in numbers that bear repeating: percentiles, spread, and what was set aside."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

# Fewer samples than these without an interruption, and all are counted instead.
_LEAST_CLEAN = 5
# Of the spread (MAD, scaled as below) from the median on; the usual bound of the modified z-score
# (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
_OUTLIER_BOUND = 3.5
# A normal distribution's standard deviation over its MAD.
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Sample:
    """One timing.

    Attributes
    ----------
    seconds
        Of a run; the mean where several runs were timed as one.
    interrupted
        Whether the system took the core away from the program meanwhile, or a page was not there.
    """

    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class Summary:
    """What many timings say. All times in seconds.

    Attributes
    ----------
    count
        Samples that the numbers are of.
    interrupted
        Samples that were interrupted, counted or not.
    excluded
        Whether the interrupted ones were left out; false where too few others were left.
    p50, p90, p99
        Percentiles, linear between samples.
    iqr
        Distance of the quartiles.
    mad
        Median distance from the median.
    interrupted_p50
        Median of the interrupted samples; None where there are none.
    outliers
        Of the counted samples, those far from the median for this spread although nothing
        interrupted them. They are in the numbers.
    """

    count: int
    interrupted: int
    excluded: bool
    p50: float
    p90: float
    p99: float
    mean: float
    minimum: float
    maximum: float
    iqr: float
    mad: float
    outliers: int
    interrupted_p50: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Times in milliseconds, under names that say so."""
        times = ("p50", "p90", "p99", "mean", "minimum", "maximum", "iqr", "mad")
        return {
            "count": self.count,
            "interrupted": self.interrupted,
            "interrupted_excluded": self.excluded,
            "outliers": self.outliers,
            **{f"{name}_ms": getattr(self, name) * 1e3 for name in times},
            "interrupted_p50_ms": None
            if self.interrupted_p50 is None
            else self.interrupted_p50 * 1e3,
        }


def summarize(samples: Sequence[Sample]) -> Summary:
    """Summarise timings; interrupted ones are set aside unless hardly any others are left.

    Raises
    ------
    ValueError
        There is no sample.
    """
    if not samples:
        raise ValueError("no samples")
    clean = sorted(sample.seconds for sample in samples if not sample.interrupted)
    excluded = len(clean) >= min(_LEAST_CLEAN, len(samples))
    times = clean if excluded else sorted(sample.seconds for sample in samples)
    hit = [sample.seconds for sample in samples if sample.interrupted]
    middle = percentile(times, 50)
    mad = percentile(sorted(abs(time - middle) for time in times), 50)
    far = _OUTLIER_BOUND * _MAD_TO_SIGMA * mad
    return Summary(
        count=len(times),
        interrupted=len(hit),
        excluded=excluded,
        p50=middle,
        p90=percentile(times, 90),
        p99=percentile(times, 99),
        mean=sum(times) / len(times),
        minimum=times[0],
        maximum=times[-1],
        iqr=percentile(times, 75) - percentile(times, 25),
        mad=mad,
        outliers=sum(abs(time - middle) > far for time in times) if mad > 0 else 0,
        interrupted_p50=median(hit) if hit else None,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values, linear between them, as numpy does by default."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def parse_samples(data: bytes) -> list[Sample]:
    """Read what ``autoglm.measure.*`` of the device server returns.

    That is pairs of float64, little endian: seconds of a run, and 1 if it was interrupted.
    """
    pairs = struct.iter_unpack("<dd", data)
    return [Sample(seconds, interrupted != 0) for seconds, interrupted in pairs]


def undisturbed_seconds(samples: Sequence[Sample]) -> list[float]:
    """Return the times of the samples that nothing interrupted, or of all if there is no such."""
    calm = [sample.seconds for sample in samples if not sample.interrupted]
    return calm or [sample.seconds for sample in samples]
