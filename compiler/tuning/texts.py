"""Numbers and names of a tuning as short texts, alike in the display, the report and the charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autoglm_tvm.compiler.tuning.state import DeviceState, TuningState

#: For what is not known.
NOTHING = "-"
# Characters that a name keeps however narrow the line is.
_LEAST_NAME = 8
# Share of a line, by its reciprocal, that names leave to a text at the end.
_TEXT_PART = 3


def microseconds(seconds: float | None) -> str:
    """Return a time as a number of microseconds with about three digits, without the unit."""
    if seconds is None:
        return NOTHING
    value = seconds * 1e6
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, with the unit."""
    value = seconds * 1e3
    return f"{value:.{3 if value < 9.9995 else 2 if value < 99.995 else 1}f} ms"


def duration(seconds: float) -> str:
    """Return a wall time in the units that suit it: ``8 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def percent(part: float | None) -> str:
    """Return a share in percent; small ones with a digit behind the point."""
    if part is None:
        return NOTHING
    return f"{part:.1%}" if 0 < abs(part) < 0.0995 else f"{part:.0%}"


def change(ratio: float | None) -> str:
    """Return what a ratio of times means: ``-27%`` for 0.73; ``0%`` where nothing changed."""
    if ratio is None:
        return NOTHING
    text = percent(ratio - 1.0)
    if not any(digit in text for digit in "123456789"):
        return "0%"
    return text if ratio < 1.0 else f"+{text}"


def kinds(failures: Counter[str]) -> str:
    """Return failures by kind, the most frequent first: ``12 crash, 3 wrong result``."""
    return ", ".join(
        f"{count} {kind_name(kind)}" for kind, count in failures.most_common() if count
    )


def kind_name(kind: str) -> str:
    """Return a kind of failure as words."""
    return kind.replace("_", " ")


def trials(state: TuningState) -> str:
    """Return how many trials are done, and of how many."""
    done = str(state.trials + state.resumed_trials)
    done += f" of {state.max_trials}" if state.max_trials else ""
    return done + (f", {state.resumed_trials} of them earlier" if state.resumed_trials else "")


def failures(state: TuningState) -> str:
    """Return how many trials failed, by kind; empty where none did."""
    count = state.failures.total()
    return f"{count}: {kinds(state.failures)}" if count else ""


def device(item: DeviceState) -> str:
    """Return a device, its state, its temperature where it has one, and what it measured."""
    heat = "" if item.temperature_c is None else f", {item.temperature_c:.0f} C"
    return f"{item.name} {item.state}{heat}, {plural(item.trials, 'trial')}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def middle_cut(text: str, width: int) -> str:
    """Return a text of at most so many characters: names of kernels differ at both ends."""
    if len(text) <= width:
        return text
    if width <= 3:
        return text[:width]
    kept = width - 2
    return f"{text[: kept - kept // 2]}..{text[len(text) - kept // 2 :]}"


def end_cut(text: str, width: int) -> str:
    """Return a text of at most so many characters, with dots where its end is missing."""
    return text if len(text) <= width else text[: max(0, width - 2)] + ".."[:width]


def printable(text: str) -> str:
    """Return a text without control characters, which messages of compilers and devices hold."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def aligned(rows: Sequence[Sequence[str]], width: int, *, text_last: bool = False) -> list[str]:
    """Return rows as lines of at most ``width`` columns, the header first.

    The first column stands to the left and is cut in its middle where the lines grow too long. The
    others stand to the right; with ``text_last`` the last one to the left, and is cut at its end.
    """
    numbers = [row[1:-1] if text_last else row[1:] for row in rows]
    widths = [max(map(len, column)) for column in zip(*numbers, strict=True)]
    name = max(len(row[0]) for row in rows)
    text = min(width // _TEXT_PART, max(len(row[-1]) for row in rows)) + 2 if text_last else 0
    name = max(_LEAST_NAME, min(name, width - sum(widths) - 2 * len(widths) - text))
    lines = []
    for row, right in zip(rows, numbers, strict=True):
        cells = [f"{middle_cut(row[0], name):{name}}"]
        cells += [f"{cell:>{size}}" for cell, size in zip(right, widths, strict=True)]
        if text_last:
            cells.append(row[-1])
        lines.append(end_cut("  ".join(cells).rstrip(), width))
    return lines
