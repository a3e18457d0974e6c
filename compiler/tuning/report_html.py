"""The report of a tuning as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from autoglm_tvm.compiler.tuning import texts
from autoglm_tvm.compiler.tuning.charts import convergence_chart, heading, time_chart
from autoglm_tvm.compiler.tuning.drawing import Drawing, below, moved, to_svg
from autoglm_tvm.compiler.tuning.drawing_png import write_png
from autoglm_tvm.compiler.tuning.live_view import spent_text
from autoglm_tvm.compiler.tuning.progress import by_importance, share, summed_ratio
from autoglm_tvm.compiler.tuning.report import TuningReport, write_text
from autoglm_tvm.compiler.tuning.report_text import kept_text, measured_text, summed_text
from autoglm_tvm.compiler.tuning.state import TaskState, TuningState
from autoglm_tvm.compiler.tuning.task_table import best_seconds

_TEMPLATE = Path(__file__).with_name("report.html")
_TASK_HEADER = ("kernel", "calls", "share", "default µs", "best µs", "change", "trials", "remarks")
_MOST_MESSAGE = 1000


def write_report_html(report: TuningReport, path: Path) -> None:
    """Write the page; `UserInputError` where that cannot be."""
    write_text(path, report_html(report))


def write_report_png(report: TuningReport, path: Path) -> None:
    """Write the page's pictures, below each other, to a PNG file; errors as of `write_png`."""
    write_png(report_picture(report), path)


def report_picture(report: TuningReport) -> Drawing:
    """Return a headline and both charts in one picture with a margin."""
    state = report.state
    charts = below([heading(report), time_chart(state), convergence_chart(state)])
    margin = 24.0
    shapes = [moved(shape, margin, margin) for shape in charts.shapes]
    return Drawing(charts.width + 2 * margin, charts.height + 2 * margin, charts.title, shapes)


def report_html(report: TuningReport) -> str:
    """Return the page. It is XML too: every element is closed."""
    state, measured = report.state, report.end_to_end
    template = Template(_TEMPLATE.read_text("utf-8"))
    return template.substitute(
        model=_text(state.model),
        target=_text(state.target),
        ended=_text(report.stopped),
        measured="not measured" if measured is None else texts.change(measured.ratio),
        measured_how=_text(measured_text(report)),
        summed=texts.change(summed_ratio(state)),
        summed_how=_text(summed_text(report)),
        time_chart=to_svg(time_chart(state)),
        convergence_chart=to_svg(convergence_chart(state)),
        tasks=_table(_TASK_HEADER, [_task(task, state) for task in by_importance(state.tasks)]),
        failures=_failures(report),
        session=_session(report),
    )


def _task(task: TaskState, state: TuningState) -> list[str]:
    ratio = task.best_ratio if task.default_seconds is not None else None
    better = ' class="number better"' if task.best_ratio < 1.0 else ' class="number"'
    remarks = "; ".join(filter(None, (texts.kinds(task.failures), task.done)))
    numbers = [
        str(task.calls),
        texts.percent(share(task, state)),
        texts.microseconds(task.default_seconds),
        texts.microseconds(best_seconds(task)),
    ]
    kernel = f'<td class="kernel" title="{_text(task.workload)}">{_text(task.kernel)}</td>'
    return [
        kernel,
        *(f'<td class="number">{number}</td>' for number in numbers),
        f"<td{better}>{texts.change(ratio)}</td>",
        f'<td class="number">{task.trials}</td>',
        f'<td class="text">{_text(remarks)}</td>',
    ]


def _failures(report: TuningReport) -> str:
    counts = report.state.failures
    if not counts:
        return "<p>None.</p>"
    rows = [
        [
            f'<td class="name">{_text(texts.kind_name(kind))}</td>',
            f'<td class="number">{count}</td>',
            f'<td class="text"><code>{_message(report.examples.get(kind, ""))}</code></td>',
        ]
        for kind, count in counts.most_common()
    ]
    return _table(("kind", "trials", "an example's message"), rows)


def _session(report: TuningReport) -> str:
    state = report.state
    facts = [
        ("trials", texts.trials(state)),
        ("wall time", f"{texts.duration(state.elapsed_s)}: {spent_text(state)}"),
        *(("device", texts.device(device)) for device in state.devices),
        ("records", f"{report.records}: {kept_text(report)}"),
    ]
    return "\n".join(f"<p>{name}: {_text(text)}</p>" for name, text in facts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are elements already; first and last column are text."""
    ends = (0, len(header) - 1)
    cells = [
        f'<th class="text">{name}</th>' if number in ends else f"<th>{name}</th>"
        for number, name in enumerate(header)
    ]
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{''.join(cells)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _message(message: str) -> str:
    cut = message if len(message) <= _MOST_MESSAGE else f"{message[:_MOST_MESSAGE]} ..."
    return _text(cut.strip())


def _text(text: str) -> str:
    return escape(texts.printable(text))
