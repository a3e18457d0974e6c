"""The measurements as a picture: the time of every runtime over that of ONNX Runtime."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import MissingToolError
from benchmarks.peers.installed import YARDSTICK

Row = dict[str, Any]
_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
# Where all is near to the yardstick.
_FINE_TICKS = tuple(step / 10 for step in range(5, 21))
_FINEST_TICKS = tuple(step / 20 for step in range(10, 41))
_LEAST_TICKS = 3
_OURS, _LINE = "#a9c8e8", "#888888"
_MARKERS = ("o", "^", "s", "D", "v")


def write_plot(
    rows: Sequence[Row], path: Path, ours: str = "ours", yardstick: str = YARDSTICK
) -> None:
    """Write one panel for each number of threads: a bar for us with its quartiles, dots for peers.

    ``ours`` is the bars' name; all is drawn over the time of the ``yardstick``.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    """
    good = [row for row in rows if row.get("right")]
    if not good:
        return
    pyplot = import_pyplot()
    threads = sorted({row["threads"] for row in good})
    models = list(dict.fromkeys(row["model"] for row in good))
    figure, panels = pyplot.subplots(
        1,
        len(threads),
        sharex=True,
        sharey=True,
        squeeze=False,
        figsize=(1.5 + 5 * len(threads), 1.5 + 0.28 * len(models)),
        layout="constrained",
    )
    for panel, count in zip(panels[0], threads, strict=True):
        of_threads = [row for row in good if row["threads"] == count]
        _draw(panel, of_threads, models, ours, yardstick)
        panel.set_title(f"threads: {count}")
    # The panels share both axes.
    _label_axis(panels[0][0])
    panels[0][0].set_yticks(range(len(models)), models)
    panels[0][0].invert_yaxis()
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize="small")
    figure.supxlabel(f"time / time of {yardstick} (less is faster)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw(
    panel: Any, rows: Sequence[Row], models: Sequence[str], ours: str, yardstick: str
) -> None:
    places = [models.index(row["model"]) for row in rows]
    ratios = [row["ratio"][yardstick] for row in rows]
    values = [ratio["value"] for ratio in ratios]
    spread = [
        [ratio["value"] - ratio["low"] for ratio in ratios],
        [ratio["high"] - ratio["value"] for ratio in ratios],
    ]
    # Bars start at 1: what sticks out to the left is faster than the yardstick.
    panel.barh(places, [value - 1 for value in values], left=1, color=_OURS, label=ours)
    panel.errorbar(values, places, xerr=spread, fmt="none", ecolor="black", elinewidth=1)
    panel.axvline(1, color=_LINE, linewidth=1)
    peers = dict.fromkeys(name for row in rows for name in row["ratio"] if name != yardstick)
    for peer, marker in zip(peers, _MARKERS, strict=False):
        found = [
            (row["ratio"][yardstick]["value"] / row["ratio"][peer]["value"], place)
            for row, place in zip(rows, places, strict=True)
            if peer in row["ratio"]
        ]
        panel.scatter(*zip(*found, strict=True), marker=marker, s=18, label=peer, zorder=3)
    panel.grid(axis="x", alpha=0.3)


def _label_axis(panel: Any) -> None:
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    scales = [
        [tick for tick in scale if low <= tick <= high]
        for scale in (_TICKS, _FINE_TICKS, _FINEST_TICKS)
    ]
    ticks = next((scale for scale in scales if len(scale) >= _LEAST_TICKS), scales[-1])
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()


def import_pyplot() -> Any:
    """Return matplotlib.pyplot without a display; a MissingToolError where there is none."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingToolError(
            "matplotlib, which draws the plot, is not installed",
            where="--png",
            hint='pip install -e ".[bench]", or leave --png out',
        ) from error
    # Without a display.
    matplotlib.use("Agg")
    return importlib.import_module("matplotlib.pyplot")
