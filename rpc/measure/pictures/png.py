"""The charts as a PNG file, drawn by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoglm_tvm.artifacts.matplotlib_module import require_matplotlib
from autoglm_tvm.rpc.measure.pictures.charts import (
    BLUE,
    BarChart,
    LineChart,
    charts_of,
    shortened,
)
from autoglm_tvm.rpc.measure.pictures.facts import milliseconds
from autoglm_tvm.rpc.measure.result import BenchResult

_WIDTH, _LINE_HEIGHT, _BAR_HEIGHT = 9.5, 2.4, 0.26
_LONGEST_LABEL = 36


def write_png(result: BenchResult, path: Path) -> None:
    """Draw all charts below each other.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    OSError
        The file cannot be written.
    """
    module = require_matplotlib()
    charts = charts_of(result)
    heights = [
        _LINE_HEIGHT if isinstance(chart, LineChart) else 1 + _BAR_HEIGHT * len(chart.bars)
        for chart in charts
    ]
    figure = module.Figure(figsize=(_WIDTH, sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights)
    for panel, chart in zip(panels[:, 0], charts, strict=True):
        if isinstance(chart, BarChart):
            _draw_bars(panel, chart)
        else:
            _draw_lines(panel, chart)
    figure.suptitle(
        f"{result.bundle} on {result.where}: p50 {milliseconds(result.latency.p50)}",
        fontsize="large",
    )
    figure.savefig(path, dpi=120, format="png")


def _draw_lines(panel: Any, chart: LineChart) -> None:
    for series in chart.series:
        xs, ys = zip(*series.points, strict=True)
        label = series.name or None
        if series.kind == "dots":
            panel.scatter(xs, ys, s=6, color=series.colour, alpha=0.6, label=label, linewidths=0)
        elif series.kind == "steps":
            panel.fill_between(xs, ys, step="post", color=series.colour, alpha=0.75, label=label)
        else:
            marker = "o" if len(xs) == 1 else None
            panel.plot(xs, ys, color=series.colour, linewidth=1.6, marker=marker, label=label)
    if chart.y_range is not None:
        panel.set_ylim(*chart.y_range)
    for mark in chart.marks:
        draw, x, y = (
            (panel.axhline, 1.005, mark.value)
            if mark.axis == "y"
            else (panel.axvline, mark.value, 1.0)
        )
        draw(mark.value, color="#555555", linewidth=0.9, linestyle="--")
        where = panel.get_yaxis_transform() if mark.axis == "y" else panel.get_xaxis_transform()
        # Percentiles come in order, so labels that lean away from each other do not meet.
        leans = {"p50": ("right", "top"), "p90": ("left", "bottom")}.get(
            mark.label.partition(" ")[0], ("left", "bottom")
        )
        horizontal = "left" if mark.axis == "y" else leans[0]
        vertical = leans[1] if mark.axis == "y" else "bottom"
        panel.text(x, y, mark.label, transform=where, ha=horizontal, va=vertical, fontsize="small")
    if chart.legend:
        # Beside the title, where it covers nothing.
        panel.legend(
            loc="lower right", bbox_to_anchor=(1, 1), fontsize="small", ncols=2, frameon=False
        )
    panel.set_title(chart.title, loc="left", fontsize="medium", pad=14 if chart.marks else 6)
    panel.set_xlabel(chart.x_label)
    panel.set_ylabel(chart.y_label)
    panel.grid(alpha=0.3)


def _draw_bars(panel: Any, chart: BarChart) -> None:
    names = [shortened(bar.label, _LONGEST_LABEL) for bar in chart.bars]
    places = range(len(chart.bars))
    drawn = panel.barh(places, [bar.value for bar in chart.bars], color=BLUE, height=0.72)
    panel.bar_label(drawn, [bar.note for bar in chart.bars], padding=4, fontsize="small")
    panel.set_yticks(places, names, fontsize="small")
    panel.invert_yaxis()
    # Room for what is written behind the longest bar.
    panel.set_xlim(0, 1.25 * max(bar.value for bar in chart.bars) or 1)
    panel.set_title(chart.title, loc="left", fontsize="medium")
    panel.set_xlabel(chart.x_label)
    panel.grid(axis="x", alpha=0.3)
