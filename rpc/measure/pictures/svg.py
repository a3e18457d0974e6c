"""Draw a chart as SVG, without any library: it goes into the HTML page as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from autoglm_tvm.rpc.measure.pictures.charts import (
    BLUE,
    BarChart,
    Chart,
    LineChart,
    Series,
    shortened,
)
from autoglm_tvm.rpc.measure.pictures.ticks import labels, ticks

WIDTH, HEIGHT = 880, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 84, 44, 48
_BAR, _BAR_LABEL, _BAR_NOTE = 22, 330, 170
# About the width of a character of the labels, to cut what would not fit.
_CHARACTER = 6.6
_DOT = 2.2


@dataclass(frozen=True)
class _Frame:
    """From values to pixels, for an axis each way."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        inside = min(max(value, low), high)
        return HEIGHT - _BOTTOM - (inside - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)


def draw(chart: Chart) -> str:
    """Return the chart as an ``<svg>`` element."""
    if isinstance(chart, BarChart):
        height = _TOP + _BAR * len(chart.bars) + _BOTTOM
        body = [*_title(chart.title), *_bars(chart, height)]
    else:
        height = HEIGHT
        body = [*_title(chart.title), *_lines(chart)]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(chart.title)}">\n'
        + "\n".join(body)
        + "\n</svg>"
    )


def _title(text: str) -> Iterator[str]:
    yield f'<text class="title" x="8" y="20">{escape(text)}</text>'


def _lines(chart: LineChart) -> Iterator[str]:
    frame = _frame(chart)
    yield from _grid(chart, frame)
    for series in chart.series:
        yield from _series(series, frame)
    yield from _marks(chart, frame)
    x = WIDTH - _RIGHT
    for series in reversed(chart.legend):
        x -= 24 + _CHARACTER * len(series.name)
        yield f'<circle cx="{x:.1f}" cy="16" r="4.5" fill="{series.colour}"/>'
        yield f'<text x="{x + 9:.1f}" y="20">{escape(series.name)}</text>'


def _frame(chart: LineChart) -> _Frame:
    points = [point for series in chart.series for point in series.points]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return _Frame(_wide(min(xs), max(xs)), _wide(*(chart.y_range or (min(ys), max(ys)))))


def _wide(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _grid(chart: LineChart, frame: _Frame) -> Iterator[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    values = ticks(*frame.y_range, about=5)
    for value, label in zip(values, labels(values), strict=True):
        y = frame.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{label}</text>'
    values = ticks(*frame.x_range, about=9)
    for value, label in zip(values, labels(values), strict=True):
        x = frame.x(value)
        yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{bottom + 19}">{label}</text>'
    yield f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    middle = (_LEFT + right) / 2
    yield f'<text class="middle" x="{middle}" y="{HEIGHT - 8}">{escape(chart.x_label)}</text>'
    yield f'<text class="end" x="{_LEFT - 6}" y="{_TOP - 8}">{escape(chart.y_label)}</text>'


def _series(series: Series, frame: _Frame) -> Iterator[str]:
    places = [(frame.x(x), frame.y(y)) for x, y in series.points]
    if series.kind == "dots":
        for x, y in places:
            yield _dot(x, y, _DOT, series.colour)
        return
    if series.kind == "steps":
        bottom = HEIGHT - _BOTTOM
        steps = [f"M{places[0][0]:.1f},{bottom}"]
        for (x, y), (after, _) in pairwise(places):
            steps += [f"L{x:.1f},{y:.1f}", f"L{after:.1f},{y:.1f}"]
        steps.append(f"L{places[-1][0]:.1f},{bottom}Z")
        yield f'<path d="{"".join(steps)}" fill="{series.colour}" opacity=".75"/>'
        return
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline points="{path}" fill="none" stroke="{series.colour}" stroke-width="1.8"/>'
    if len(places) == 1:
        yield _dot(*places[0], 3, series.colour)


def _dot(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" opacity=".6"/>'


def _marks(chart: LineChart, frame: _Frame) -> Iterator[str]:
    """Lines with labels; where two labels would overlap, the later one moves away."""
    taken: list[float] = []
    for mark in sorted(chart.marks, key=lambda item: item.value):
        if mark.axis == "y":
            y = frame.y(mark.value)
            at = y if not taken else min(y, taken[-1] - 14)
            taken.append(at)
            yield (
                f'<line class="mark" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            yield f'<text x="{WIDTH - _RIGHT + 6}" y="{at + 4:.1f}">{escape(mark.label)}</text>'
        else:
            x = frame.x(mark.value)
            at = x if not taken else max(x, taken[-1] + _CHARACTER * (len(mark.label) + 1))
            taken.append(at)
            yield (
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" '
                f'y2="{HEIGHT - _BOTTOM}"/>'
            )
            yield f'<text class="middle" x="{at:.1f}" y="{_TOP - 6}">{escape(mark.label)}</text>'


def _bars(chart: BarChart, height: int) -> Iterator[str]:
    most = max(bar.value for bar in chart.bars) or 1.0
    room = WIDTH - _BAR_LABEL - _BAR_NOTE
    bottom = height - _BOTTOM
    values = ticks(0, most)
    for value, label in zip(values, labels(values), strict=True):
        x = _BAR_LABEL + value / most * room
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{bottom}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{bottom + 17}">{label}</text>'
    middle = _BAR_LABEL + room / 2
    yield f'<text class="middle" x="{middle}" y="{height - 8}">{escape(chart.x_label)}</text>'
    for place, bar in enumerate(chart.bars):
        y = _TOP + place * _BAR
        width = bar.value / most * room
        text = shortened(bar.label, int((_BAR_LABEL - 14) / _CHARACTER))
        yield (
            f'<text class="end" x="{_BAR_LABEL - 8}" y="{y + 14}">{escape(text)}'
            f"<title>{escape(bar.label)}</title></text>"
        )
        yield (
            f'<rect x="{_BAR_LABEL}" y="{y + 2}" width="{max(width, 0.5):.1f}" '
            f'height="{_BAR - 6}" fill="{BLUE}"/>'
        )
        note = shortened(bar.note, int(_BAR_NOTE / _CHARACTER))
        yield f'<text x="{_BAR_LABEL + width + 6:.1f}" y="{y + 14}">{escape(note)}</text>'
