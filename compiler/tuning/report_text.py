"""The report of a tuning as text for the terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.tuning import texts
from autoglm_tvm.compiler.tuning.live_view import spent_text
from autoglm_tvm.compiler.tuning.progress import by_importance, summed_ratio
from autoglm_tvm.compiler.tuning.report import TuningReport
from autoglm_tvm.compiler.tuning.task_table import task_lines

if TYPE_CHECKING:
    from rich.console import Console

_LABEL = 9


def print_report(report: TuningReport, console: Console) -> None:
    """Print the summary, every task, and what failed."""
    from rich.text import Text

    for number, line in enumerate(report_lines(report, console.width)):
        text = Text(line, style="" if number else "bold")
        console.print(text, no_wrap=True, overflow="ignore", crop=False)


def report_lines(report: TuningReport, width: int) -> list[str]:
    """Return the report; lines of text are wrapped to ``width``."""
    state = report.state
    tasks = by_importance(state.tasks)
    failed = texts.failures(state)
    lines = [f"tuned {state.model} for {state.target}", ""]
    lines += [*task_lines(tasks, state, width), ""] if tasks else []
    for label, text in (
        ("model", measured_text(report)),
        ("kernels", summed_text(report)),
        ("trials", texts.trials(state)),
        ("failed", failed),
        ("time", f"{texts.duration(state.elapsed_s)}: {spent_text(state)}"),
        *(("device", texts.device(item)) for item in state.devices),
        ("ended", report.stopped),
        ("records", f"{report.records}: {kept_text(report)}"),
    ):
        lines += _wrapped(label, text, width)
    lines += [""] if report.examples else []
    for kind, message in report.examples.items():
        first = (texts.printable(message).strip() or "no message").splitlines()[0]
        lines += _wrapped("example", f"of {texts.kind_name(kind)}: {first}", width)
    return lines


def measured_text(report: TuningReport) -> str:
    """Return the whole model's gain as it was measured, or why it was not."""
    found = report.end_to_end
    if found is None:
        return f"not measured: {report.end_to_end_note or 'the tuning ended before'}"
    low, high = found.quartiles
    text = (
        f"{texts.milliseconds(found.default_seconds)} untuned, "
        f"{texts.milliseconds(found.tuned_seconds)} tuned, both measured: ratio {found.ratio:.3f} "
        f"(quartiles {low:.3f} to {high:.3f}), time {texts.change(found.ratio)}; "
        f"{texts.plural(found.threads, 'thread')} of {found.device}; {found.how}"
    )
    return f"{text}; {report.end_to_end_note}" if report.end_to_end_note else text


def summed_text(report: TuningReport) -> str:
    """Return the sum of the kernels' gains, and that it is an estimate."""
    ratio = summed_ratio(report.state)
    if ratio is None:
        return "no kernel was measured"
    return f"time {texts.change(ratio)} in sum, an estimate: each was measured alone"


def kept_text(report: TuningReport) -> str:
    """Return how many records will be applied."""
    if not report.kept:
        return "none is faster than its default schedule"
    return f"{texts.plural(report.kept, 'record')} kept, all checked for right results"


def _wrapped(label: str, text: str, width: int) -> list[str]:
    """Return a text behind its label, on as many lines as it takes; none for an empty one."""
    parts = textwrap.wrap(text, max(20, width - _LABEL), break_on_hyphens=False)
    return [
        f"{'' if number else label:{_LABEL}}{part}".rstrip() for number, part in enumerate(parts)
    ]
