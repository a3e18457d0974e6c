"""A picture of the table: time, size and, where there is one, the task result of each precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import import_pyplot
from benchmarks.quantized.subjects import FLOAT, PRECISIONS

Row = dict[str, Any]
_COLOURS = ("#c8c8c8", "#a9c8e8", "#2f6fb0", "#7fb069", "#d98841")
_WIDTH = 0.8
_PANELS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("time / fp32", lambda row: row.get("to_fp32", {}).get("value")),
    ("weights / fp32", lambda row: row.get("size_ratio")),
    ("arm64 instructions / fp32", lambda row: row.get("arm64", {}).get("ratio")),
    ("task result", lambda row: row.get("score")),
)


def write_picture(rows: Sequence[Row], path: Path) -> None:
    """Write bars for each model and precision, on the smallest number of threads.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    """
    threads = min((row["threads"] for row in rows), default=0)
    good = [row for row in rows if row["threads"] == threads and not row.get("error")]
    if not good:
        return
    pyplot = import_pyplot()
    models = list(dict.fromkeys(row["model"] for row in good))
    sizes = {row["model"]: row["weights_bytes"] for row in good if row["precision"] == FLOAT}
    for row in good:
        if row["model"] in sizes:
            row["size_ratio"] = row["weights_bytes"] / sizes[row["model"]]
    figure, panels = pyplot.subplots(
        1, len(_PANELS), sharey=True, figsize=(14, 1.5 + 0.75 * len(models)), layout="constrained"
    )
    for panel, (title, value) in zip(panels, _PANELS, strict=True):
        _draw(panel, good, models, value)
        panel.set_title(title, fontsize="medium")
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(models)), models)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw(
    panel: Any, rows: Sequence[Row], models: Sequence[str], value: Callable[[Row], float | None]
) -> None:
    height = _WIDTH / len(PRECISIONS)
    for at, (precision, colour) in enumerate(zip(PRECISIONS, _COLOURS, strict=True)):
        found = [
            (models.index(row["model"]) + (at - (len(PRECISIONS) - 1) / 2) * height, value(row))
            for row in rows
            if row["precision"] == precision and value(row) is not None
        ]
        # An empty bar still tells its colour.
        places, widths = zip(*found, strict=True) if found else ((), ())
        panel.barh(places, widths, height=height, color=colour, label=precision)
