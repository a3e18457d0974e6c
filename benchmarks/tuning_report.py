"""What tuning gains, as a table, a summary and remarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.measure_tuned import TUNED, UNTUNED
from benchmarks.peers.installed import YARDSTICK
from benchmarks.report import BUSY_CORES, aligned, geometric_mean, text_table

Row = dict[str, Any]
_HEADER = (
    *("model", "threads", "untuned ms", "tuned ms", "ratio", "quartiles", f"{YARDSTICK} ms"),
    *(f"ratio to {YARDSTICK}", "error", "others", "trials", "failed", "minutes", "search"),
)
_WIDTHS = (16, 7, 10, 8, 5, 14, 14, 20, 7, 6, 7, 6, 7, 6)


def header_line() -> str:
    """Return the header of the lines that `row_line` makes."""
    return aligned(_HEADER, _WIDTHS)


def row_line(row: Row) -> str:
    """Return one model on one number of threads as a line; what failed, with the reason."""
    start = (row["model"], str(row["threads"]))
    if "error" in row:
        return f"{aligned(start, _WIDTHS[:2])}  FAILED: {row['error']}"
    times, ratio = row["milliseconds"], row["ratio"][UNTUNED]
    cells = (
        *start,
        *(f"{times[UNTUNED]:.3f}", f"{times[TUNED]:.3f}", f"{ratio['value']:.3f}"),
        *(f"{ratio['low']:.3f} to {ratio['high']:.3f}", f"{times[YARDSTICK]:.3f}"),
        *(f"{row['ratio'][YARDSTICK]['value']:.2f}", _error(row)),
        *(f"{row['other_cores']:.1f}", *_tuning_cells(row.get("tuning"))),
    )
    return aligned(cells, _WIDTHS) + ("" if row["right"] else "  WRONG RESULT")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return geometric means of tuned over untuned and over the yardstick, by threads.

    Wrong and failed rows do not count.
    """
    found: dict[str, Any] = {}
    for threads in sorted({row["threads"] for row in rows}):
        good = [row["ratio"] for row in rows if row["threads"] == threads and row.get("right")]
        if good:
            found[f"threads {threads}"] = {
                "models": len(good),
                **{
                    side: geometric_mean([ratio[side]["value"] for ratio in good])
                    for side in (UNTUNED, YARDSTICK)
                },
            }
    return found


def summary_text(summary: dict[str, Any]) -> str:
    """Return the summary as a table."""
    lines = [
        (name, str(mean["models"]), f"{mean[UNTUNED]:.3f}", f"{mean[YARDSTICK]:.3f}")
        for name, mean in summary.items()
    ]
    header = ("geometric means", "models", "tuned / untuned", f"tuned / {YARDSTICK}")
    return text_table(header, lines)


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what the records cover, which models are slower tuned, what spoils the numbers."""
    measured = [row for row in rows if "ratio" in row]
    lines = [
        f"{row['model']}, threads {row['threads']}: {row['coverage']}"
        for row in measured
        if row["coverage"]
    ]
    slower = [row for row in measured if row["ratio"][UNTUNED]["low"] > 1.0]
    lines += [
        f"{row['model']}, threads {row['threads']}: SLOWER tuned, "
        f"{row['ratio'][UNTUNED]['value']:.3f} of the untuned time"
        for row in slower
    ]
    busy = [row for row in measured if row["other_cores"] > BUSY_CORES]
    if busy:
        lines.append(
            f"{len(busy)} of {len(rows)} rows were measured while other programs kept more than "
            f"{BUSY_CORES} cores busy: their ratios say little, above all on several threads"
        )
    return lines


def _error(row: Row) -> str:
    error = row["relative_error"][TUNED]
    return "infinite" if error is None else f"{error:.0e}"


def _tuning_cells(tuning: Row | None) -> tuple[str, ...]:
    """Return trials, failed ones, minutes and the search's share; dashes for earlier records."""
    if tuning is None:
        return ("-",) * 4
    search = tuning["searching_s"] / tuning["elapsed_s"] if tuning["elapsed_s"] else 0.0
    return (
        str(tuning["trials"]),
        str(sum(tuning["failures"].values())),
        f"{tuning['elapsed_s'] / 60:.1f}",
        f"{search:.0%}",
    )
