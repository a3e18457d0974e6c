"""What was measured as a table, for a terminal and for Markdown, and what was reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.quantized.subjects import DECODER, FLOAT, REQUIRED
from benchmarks.report import BUSY_CORES, geometric_mean, text_table

Row = dict[str, Any]
_HEADER = (
    *("model", "threads", "precision", "time / fp32", "quartiles", "time / onnxruntime"),
    *("weights MB", "arm64 instructions / fp32", "SQNR dB", "cosine", "top-1", "task result"),
)
_MEGA = 1e6
#: What the requirements say.
LEAST_SPEEDUP, MOST_OF_ONNXRUNTIME, MOST_INSTRUCTIONS = 1.6, 1.0, 0.5
LEAST_DECODER_SPEEDUP, MOST_LOST = 2.5, 0.01


def table_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal; what failed is said below it."""
    return "\n".join([text_table(_HEADER, map(_cells, rows)), *failures(rows), *remarks(rows)])


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as Markdown, with what was reached behind it."""
    lines = [_line(_HEADER), _line(["---"] * len(_HEADER)), *(_line(_cells(row)) for row in rows)]
    notes = [*failures(rows), *remarks(rows), *conclusions(rows)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    start = [row["model"], str(row["threads"]), row["precision"]]
    if row.get("error"):
        return [*start, "refused", *["-"] * (len(_HEADER) - 4)]
    ratio, arm = row.get("to_fp32"), row.get("arm64", {}).get("ratio")
    random = " (random)" if row.get("random_data") else ""
    return [
        *start,
        _number(ratio and ratio["value"]),
        f"{ratio['low']:.2f} to {ratio['high']:.2f}" if ratio else "-",
        _number(row["to_onnxruntime"]["value"]) + ("" if row["right"] else " WRONG"),
        f"{row['weights_bytes'] / _MEGA:.1f}",
        _number(arm),
        _number(row.get("sqnr_db"), 1) + random,
        _number(row.get("cosine"), 5),
        "-" if row.get("top1") is None else f"{row['top1']:.1%}",
        _number(row.get("score"), 4),
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def failures(rows: Sequence[Row]) -> list[str]:
    """Return why rows are empty, or wrong."""
    lines = []
    for row in rows:
        where = f"{row['model']}, {row['precision']}"
        if row.get("error"):
            lines.append(f"{where}: {str(row['error']).splitlines()[0]}")
        elif not row["right"]:
            lines.append(f"{where}: differs from onnxruntime by {row['difference']:.1e}")
        if row.get("arm64", {}).get("error"):
            lines.append(f"{where}, arm64: {row['arm64']['error'].splitlines()[0]}")
    return list(dict.fromkeys(lines))


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what the numbers do not say."""
    lines = []
    if any(row.get("random_data") for row in rows):
        lines.append(
            "(random): random weights, calibrated and judged on random inputs: such accuracy says "
            "that nothing is broken, and no more"
        )
    measures = {row["model"]: row["score_of"] for row in rows if "score_of" in row}
    lines += [f"task result of {model}: {what}, 1 is perfect" for model, what in measures.items()]
    busy = [row for row in rows if row.get("other_cores", 0) > BUSY_CORES]
    if busy:
        lines.append(
            f"{len(busy)} of {len(rows)} rows were measured while other programs kept more than "
            f"{BUSY_CORES} cores busy"
        )
    return lines


def conclusions(rows: Sequence[Row]) -> list[str]:
    """Return for each requirement what was measured, and whether that reaches it.

    What a required model was measured for and has no right result of is not reached.
    """
    lines = []
    for threads in sorted({row["threads"] for row in rows}):
        here = [row for row in rows if row["threads"] == threads]
        lines += _of_speed(here, f"{threads} thread{'s' if threads > 1 else ''}")
    int8 = [row for row in rows if row["precision"] == "int8" and row["model"] in REQUIRED]
    lines += _judged(
        f"int8: arm64 instructions over fp32's (at most {MOST_INSTRUCTIONS})",
        [row for row in int8 if row.get("arm64") or _problem(row)],
        lambda row: row.get("arm64", {}).get("ratio"),
        lambda values: max(values) <= MOST_INSTRUCTIONS,
    )
    scores = {row["model"]: row.get("score") for row in rows if row["precision"] == FLOAT}
    lines += _judged(
        f"int8: share of the float task result that is lost (at most {MOST_LOST})",
        [row for row in rows if row["precision"] == "int8" and scores.get(row["model"])],
        lambda row: 1 - row["score"] / scores[row["model"]] if "score" in row else None,
        lambda values: max(values) <= MOST_LOST,
        digits=4,
    )
    return lines


def _of_speed(rows: Sequence[Row], threads: str) -> list[str]:
    """The requirements on time, of the rows of one number of threads."""
    int8 = [row for row in rows if row["precision"] == "int8" and row["model"] in REQUIRED]
    decoder = [row for row in rows if (row["model"], row["precision"]) == (DECODER, "int4")]

    def speedup(row: Row) -> float | None:
        return 1 / row["to_fp32"]["value"] if "to_fp32" in row else None

    return [
        *_judged(
            f"int8, {threads}: times as fast as our fp32 (at least {LEAST_SPEEDUP})",
            int8,
            speedup,
            lambda values: min(values) >= LEAST_SPEEDUP,
        ),
        *_judged(
            f"int8, {threads}: time over onnxruntime's "
            f"(geometric mean at most {MOST_OF_ONNXRUNTIME})",
            int8,
            lambda row: row["to_onnxruntime"]["value"] if "to_onnxruntime" in row else None,
            lambda values: geometric_mean(values) <= MOST_OF_ONNXRUNTIME,
        ),
        *_judged(
            f"int4, {threads}: times as fast as our fp32 (at least {LEAST_DECODER_SPEEDUP})",
            decoder,
            speedup,
            lambda values: min(values) >= LEAST_DECODER_SPEEDUP,
        ),
    ]


def _problem(row: Row) -> str:
    """Why a row counts for nothing; empty if it counts."""
    if row.get("error"):
        return "refused"
    return "" if row.get("right") else "wrong"


def _judged(
    what: str,
    rows: Sequence[Row],
    value_of: Callable[[Row], float | None],
    reaches: Callable[[list[float]], bool],
    digits: int = 2,
) -> list[str]:
    """One line; none where no row is about it."""
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    for row in rows:
        value = None if _problem(row) else value_of(row)
        if value is None:
            missing[row["model"]] = _problem(row) or "not measured"
        else:
            values[row["model"]] = value
    if not rows:
        return []
    numbers = list(values.values())
    parts = [f"{model} {value:.{digits}f}" for model, value in values.items()]
    parts += [f"{model}: {why}" for model, why in missing.items()]
    shown = ", ".join(parts)
    if len(numbers) > 1 and min(numbers) > 0:
        shown += f"; geometric mean {geometric_mean(numbers):.{digits}f}"
    reached = bool(numbers) and not missing and reaches(numbers)
    return [f"{'reached' if reached else 'NOT REACHED'}: {what}: {shown}"]
