"""The measurements as tables: row by row, in summary, and against an earlier run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import Any

from benchmarks.peers.installed import YARDSTICK

Row = dict[str, Any]
#: Relative change of a ratio from which on it is remarked on, where the quartiles are apart too.
_CHANGE = 0.05
#: Cores that other programs may use before the numbers are not to be trusted.
BUSY_CORES = 0.2
#: Width of each column of `row_line`.
_WIDTHS = (16, 7, 10, 11, 7, 15, 8, 6, 9, 8, 9)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return exp(sum(map(log, values)) / len(values))


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below a header; the first column to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [aligned(line, widths) for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells as a line: the first one to the left, the others to the right."""
    first, *others = cells
    right = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
    return "  ".join([f"{first:{widths[0]}}", *right]).rstrip()


def header_line(peers: Sequence[str]) -> str:
    """Return the header of the lines that `row_line` makes; `peers` without the yardstick."""
    cells = (
        *("model", "threads", "ours ms", YARDSTICK, "ratio", "quartiles", "shortest", "others"),
        *("error", "kernels", "compile s", *(f"{peer} ms" for peer in peers)),
    )
    return aligned(cells, _widths(peers))


def row_line(row: Row, peers: Sequence[str]) -> str:
    """Return one measurement as a line; what failed, with the reason."""
    start = (row["model"], str(row["threads"]))
    if "error" in row:
        return f"{aligned(start, _WIDTHS[:2])}  FAILED: {row['error']}"
    times, ratio = row["milliseconds"], row["ratio"][YARDSTICK]
    error, seconds = row["relative_error"], row["compile_seconds"]
    cells = (
        *start,
        *(f"{times['ours']:.3f}", f"{times[YARDSTICK]:.3f}", f"{ratio['value']:.2f}"),
        f"{ratio['low']:.2f} to {ratio['high']:.2f}",
        f"{_shortest_ratio(row):.2f}",
        f"{row['other_cores']:.1f}",
        "infinite" if error is None else f"{error:.0e}",
        str(row["kernels"]),
        "-" if seconds is None else f"{seconds:.1f}",
        *(f"{times[peer]:.3f}" if peer in times else "-" for peer in peers),
    )
    return aligned(cells, _widths(peers)) + ("" if row["right"] else "  WRONG RESULT")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return geometric means of the ratios by threads and group, and the worst network of each.

    Wrong and failed rows do not count. The mean of a peer is against the yardstick, over the models
    that the peer runs; ``ours`` beside it is over the same models. The means of the shortest runs
    are less disturbed where the machine is busy.
    """
    found: dict[str, Any] = {}
    for threads in sorted({row["threads"] for row in rows}):
        of_threads = [row for row in rows if row["threads"] == threads and row.get("right")]
        for group in dict.fromkeys(row["group"] for row in of_threads):
            of_group = [row for row in of_threads if row["group"] == group]
            ratios = {row["model"]: row["ratio"][YARDSTICK]["value"] for row in of_group}
            worst = max(ratios, key=lambda model: ratios[model])
            found[f"{group}, threads {threads}"] = {
                "models": len(of_group),
                "geometric_mean": geometric_mean(list(ratios.values())),
                "geometric_mean_of_shortest": geometric_mean(
                    [_shortest_ratio(row) for row in of_group]
                ),
                "worst": {"model": worst, "ratio": ratios[worst]},
                "peers": _peer_means(of_group),
            }
    return found


def summary_text(summary: dict[str, Any]) -> str:
    """Return the summary as a table, and a second one for the peers where there are any."""
    lines = []
    for group, values in summary.items():
        means = (values["geometric_mean"], values["geometric_mean_of_shortest"])
        worst = f"{values['worst']['model']} {values['worst']['ratio']:.2f}"
        lines.append((group, str(values["models"]), *(f"{mean:.2f}" for mean in means), worst))
    text = text_table(("group", "models", "geometric mean", "of shortest", "worst"), lines)
    peers = list(dict.fromkeys(peer for values in summary.values() for peer in values["peers"]))
    if not peers:
        return text
    lines = [
        (group, *(_peer_cell(values["peers"].get(peer)) for peer in peers))
        for group, values in summary.items()
    ]
    header = (f"over {YARDSTICK} (ours, models)", *peers)
    return f"{text}\n\n{text_table(header, lines)}"


def _peer_cell(mean: dict[str, Any] | None) -> str:
    return f"{mean['peer']:.2f} ({mean['ours']:.2f}, {mean['models']})" if mean else "-"


def comparison_text(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return the ratios to the yardstick of two runs side by side.

    Faster and slower is what changed by more than 5 % and whose quartiles do not overlap.
    """
    before = {(row["model"], row["threads"]): row for row in old}
    lines = []
    for row in new:
        earlier = before.get((row["model"], row["threads"]))
        if earlier is None or "ratio" not in earlier or "ratio" not in row:
            continue
        was, now = earlier["ratio"][YARDSTICK], row["ratio"][YARDSTICK]
        change = now["value"] / was["value"] - 1
        apart = now["low"] > was["high"] or now["high"] < was["low"]
        remark = ("slower" if change > 0 else "faster") if apart and abs(change) > _CHANGE else ""
        lines.append(
            (
                *(row["model"], str(row["threads"])),
                *(f"{was['value']:.2f}", f"{now['value']:.2f}", f"{change:+.0%}", remark),
            )
        )
    if not lines:
        return "the earlier run has none of these models"
    return text_table(("model", "threads", "earlier ratio", "ratio", "change", ""), lines)


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what spoils the numbers: a busy machine; and why peers are missing."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for peer, reason in row.get("peers_failed", {}).items():
            reasons.setdefault(f"{peer}: {reason}", []).append(row["model"])
    lines = [f"{reason} ({', '.join(dict.fromkeys(where))})" for reason, where in reasons.items()]
    busy = [row for row in rows if row.get("other_cores", 0.0) > BUSY_CORES]
    if busy:
        lines.append(
            f"{len(busy)} of {len(rows)} rows were measured while other programs kept more than "
            f"{BUSY_CORES} cores busy: their ratios say little, above all on several threads"
        )
    return lines


def _shortest_ratio(row: Row) -> float:
    shortest = row["shortest_milliseconds"]
    return shortest["ours"] / shortest[YARDSTICK]


def _peer_means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    peers = dict.fromkeys(name for row in rows for name in row["ratio"] if name != YARDSTICK)
    means = {}
    for peer in peers:
        both = [row["ratio"] for row in rows if peer in row["ratio"]]
        ours = geometric_mean([ratio[YARDSTICK]["value"] for ratio in both])
        # ours / peer is measured as ours / yardstick is: their quotient is peer / yardstick.
        theirs = ours / geometric_mean([ratio[peer]["value"] for ratio in both])
        means[peer] = {"peer": theirs, "ours": ours, "models": len(both)}
    return means


def _widths(peers: Sequence[str]) -> list[int]:
    return [*_WIDTHS, *(max(10, len(peer) + 3) for peer in peers)]
