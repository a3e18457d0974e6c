"""What the pictures show, as data; `svg` and `png` draw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoglm_tvm.rpc.measure.profile import KernelTime, Profile
from autoglm_tvm.rpc.measure.result import BenchResult
from autoglm_tvm.rpc.measure.statistics import Sample, Summary
from autoglm_tvm.rpc.measure.sustained import Point, Sustained

# Okabe and Ito's colours, which differ for the colour-blind too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_BINS = 40
_MOST_BARS = 16
# Above this multiple of p99, runs are drawn at the edge, or all others would be one line.
_ROOM = 1.25
_MOST_DOTS = 3000


@dataclass(frozen=True)
class Series:
    """Points that belong together, as ``dots``, a ``line`` or ``steps`` down to the axis."""

    name: str
    points: tuple[tuple[float, float], ...]
    kind: str
    colour: str


@dataclass(frozen=True)
class Mark:
    """A labelled straight line at a value of the ``x`` or ``y`` axis."""

    axis: str
    value: float
    label: str


@dataclass(frozen=True)
class LineChart:
    """Series over a common axis; ``y_range`` cuts what is outside of it."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    y_range: tuple[float, float] | None = None

    @property
    def legend(self) -> tuple[Series, ...]:
        """The series that need a legend: all of several, or one that is not what the title says."""
        alone = len(self.series) == 1 and self.series[0].name in ("", "runs")
        return () if alone else self.series


@dataclass(frozen=True)
class Bar:
    """A horizontal bar: what it is of, how long it is, and what is written behind it."""

    label: str
    value: float
    note: str


@dataclass(frozen=True)
class BarChart:
    """Bars, the first one on top."""

    title: str
    x_label: str
    bars: tuple[Bar, ...]


Chart = LineChart | BarChart


def shortened(text: str, most: int) -> str:
    """Cut a text in its middle: names of kernels differ at their ends."""
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def charts_of(result: BenchResult) -> list[Chart]:
    """Return the charts that there are numbers for, in the order in which they are shown."""
    charts: list[Chart] = [
        _runs(result.samples, result.latency),
        _distribution(result.samples, result.latency),
    ]
    if result.sustained is not None:
        charts += _over_time(result.sustained)
    if result.profile is not None and result.profile.kernels:
        charts.append(_kernels(result.profile))
    return charts


def _counted(samples: Sequence[Sample], summary: Summary) -> list[float]:
    return [s.seconds * 1e3 for s in samples if not (summary.excluded and s.interrupted)]


def _runs(samples: Sequence[Sample], summary: Summary) -> LineChart:
    low = summary.minimum * 1e3
    high = summary.p99 * 1e3 * _ROOM
    stride = -(-len(samples) // _MOST_DOTS)
    points = [
        (float(number), min(sample.seconds * 1e3, high), sample.interrupted)
        for number, sample in enumerate(samples, start=1)
    ][::stride]
    above = sum(sample.seconds * 1e3 > high for sample in samples)
    series = [
        Series("runs", tuple((x, y) for x, y, hit in points if not hit), "dots", BLUE),
        Series("interrupted", tuple((x, y) for x, y, hit in points if hit), "dots", ORANGE),
    ]
    edge = f" ({above} slower than shown, at the edge)" if above else ""
    return LineChart(
        f"Latency of each run{edge}",
        "run",
        "ms",
        tuple(item for item in series if item.points),
        tuple(
            Mark("y", value * 1e3, f"{name} {value * 1e3:.4g}")
            for name, value in (("p50", summary.p50), ("p90", summary.p90))
        ),
        (low - 0.06 * (high - low), high + 0.03 * (high - low)),
    )


def _distribution(samples: Sequence[Sample], summary: Summary) -> LineChart:
    times = _counted(samples, summary)
    low, high = summary.minimum * 1e3, summary.p99 * 1e3
    width = (high - low) / _BINS or low / _BINS or 1.0
    counts = [0] * _BINS
    for time in times:
        place = int((time - low) / width)
        if place < _BINS:
            counts[place] += 1
        elif time <= high:
            counts[-1] += 1
    points = tuple((low + place * width, float(count)) for place, count in enumerate(counts))
    return LineChart(
        "Distribution up to p99",
        "latency in ms",
        "runs",
        (Series("runs", (*points, (low + _BINS * width, 0.0)), "steps", BLUE),),
        tuple(
            Mark("x", value * 1e3, name)
            for name, value in (("p50", summary.p50), ("p90", summary.p90), ("p99", summary.p99))
        ),
        (0.0, max(counts) * 1.18),
    )


def _over_time(sustained: Sustained) -> list[Chart]:
    def line(name: str, value: Callable[[Point], float | None], colour: str) -> Series:
        points = [(point.at / 60, value(point)) for point in sustained.points]
        return Series(name, tuple((x, y) for x, y in points if y is not None), "line", colour)

    panels = (
        (
            "Latency under load",
            "ms",
            (
                line("p50", lambda point: point.p50 * 1e3, BLUE),
                line("p90", lambda point: point.p90 * 1e3, ORANGE),
            ),
        ),
        ("CPU temperature under load", "°C", (line("", lambda point: point.celsius, RED),)),
        ("Frequency of the cores under load", "MHz", (line("", lambda point: point.mhz, GREEN),)),
        ("Power under load", "W", (line("", lambda point: point.watts, GREY),)),
    )
    return [
        LineChart(title, "minutes", unit, series, y_range=_padded(series))
        for title, unit, series in panels
        if series[0].points
    ]


def _padded(series: Sequence[Series]) -> tuple[float, float] | None:
    values = [y for item in series for _, y in item.points]
    if not values:
        return None
    low, high = min(values), max(values)
    # Never so close that noise of a few per cent looks like a mountain.
    room = max(high - low, 0.1 * abs(high)) or 1.0
    middle = (low + high) / 2
    return middle - 0.6 * room, middle + 0.6 * room


def _kernels(profile: Profile) -> BarChart:
    bars = [_bar(kernel) for kernel in profile.kernels[:_MOST_BARS]]
    rest = profile.kernels[_MOST_BARS:]
    if rest:
        taken, share = sum(k.seconds for k in rest), sum(k.share for k in rest)
        bars.append(Bar(f"{len(rest)} more kernels", taken * 1e3, f"{share:.1%}"))
    return BarChart("Time of each kernel in a run", "ms", tuple(bars))


def _bar(kernel: KernelTime) -> Bar:
    rule = kernel.schedule.partition(":")[0]
    calls = f" x{kernel.calls}" if kernel.calls > 1 else ""
    return Bar(kernel.function + calls, kernel.seconds * 1e3, f"{kernel.share:.1%} {rule}".strip())
