"""Pictures of a finished tuning: the time of each task before and after, and how it came down."""

from __future__ import annotations

from math import floor

from autoglm_tvm.compiler.tuning import texts
from autoglm_tvm.compiler.tuning.drawing import Box, Dot, Drawing, Label, Line, Shape, fitting
from autoglm_tvm.compiler.tuning.progress import by_importance, share, tuned_total_seconds
from autoglm_tvm.compiler.tuning.report import TuningReport
from autoglm_tvm.compiler.tuning.state import TaskState, TuningState

_DEFAULT, _TUNED, _BETTER = "#b4bac2", "#0072b2", "#00795a"
_AXIS, _GRID, _FAINT = "#555555", "#e3e6ea", "#666666"
_WIDTH = 960.0

# Of the bars.
_NAMES, _NUMBERS, _ROW, _TOP, _BAR = 300.0, 180.0, 30.0, 62.0, 9.0
#: Further tasks are only in the table: they hardly matter, and the picture must stay readable.
MOST_BARS = 40

# Of the panels of convergence.
_COLUMNS, _PANEL_WIDTH, _PANEL_HEIGHT, _GAP = 3, 304.0, 150.0, 24.0
_LEFT, _RIGHT, _ABOVE, _BELOW, _HEADING = 44.0, 8.0, 36.0, 26.0, 58.0


def heading(report: TuningReport) -> Drawing:
    """Return what was tuned, and what the whole model gained, as two lines of a picture."""
    state, found = report.state, report.end_to_end
    title = f"Tuning of {state.model} for {state.target}"
    drawing = Drawing(
        _WIDTH, 48.0, title, [Label(0, 18, fitting(title, _WIDTH, 19), 18, bold=True)]
    )
    text = "The whole model was not measured."
    if found is not None:
        text = (
            f"The whole model, measured: {texts.milliseconds(found.default_seconds)} untuned, "
            f"{texts.milliseconds(found.tuned_seconds)} tuned, {texts.change(found.ratio)}"
        )
    drawing.shapes.append(Label(0, 42, text, 13))
    return drawing


def time_chart(state: TuningState) -> Drawing:
    """Return bars of the time that each task takes in a run of the model, untuned and tuned."""
    tasks = [task for task in by_importance(state.tasks) if task.default_seconds]
    shown, hidden = tasks[:MOST_BARS], tasks[MOST_BARS:]
    height = _TOP + _ROW * max(1, len(shown)) + (20 if hidden else 0)
    chart = Drawing(_WIDTH, height, "Time of each task in a run of the model, before and after")
    chart.shapes += [
        Label(0, 16, chart.title, 15, bold=True),
        *_legend(0, 38, _DEFAULT, "untuned"),
        *_legend(100, 38, _TUNED, "tuned"),
        Label(190, 38, "in ms: of all calls of the task together", colour=_FAINT),
    ]
    if not tasks:
        chart.shapes.append(Label(0, _TOP + 14, "No task was measured.", colour=_FAINT))
        return chart
    longest = max(max(task.total_default_seconds, tuned_total_seconds(task)) for task in shown)
    scale = (_WIDTH - _NAMES - _NUMBERS) / longest
    for number, task in enumerate(shown):
        chart.shapes += _bars(task, _TOP + _ROW * number, scale)
    if hidden:
        part = sum(share(task, state) or 0.0 for task in hidden)
        more = f"and {texts.plural(len(hidden), 'task')} more, {texts.percent(part)} of the time"
        chart.shapes.append(Label(0, height - 4, more, colour=_FAINT))
    return chart


def _bars(task: TaskState, top: float, scale: float) -> list[Shape]:
    before, after = task.total_default_seconds, tuned_total_seconds(task)
    name = task.kernel + (f" x{task.calls}" if task.calls > 1 else "")
    middle = top + _BAR + 4
    longer = _NAMES + max(before, after) * scale
    numbers = f"{before * 1e3:.3f} to {after * 1e3:.3f}"
    gain = texts.change(task.best_ratio)
    return [
        Label(_NAMES - 8, middle, fitting(name, _NAMES - 8), anchor="end", hover=task.workload),
        Box(_NAMES, top, before * scale, _BAR, _DEFAULT),
        Box(_NAMES, top + _BAR, after * scale, _BAR, _TUNED),
        Label(longer + 6, middle, numbers),
        Label(longer + 128, middle, gain, bold=True, colour=_colour_of_gain(task.best_ratio)),
    ]


def convergence_chart(state: TuningState) -> Drawing:
    """Return a panel for each task: its best time so far over its trials, relative to untuned."""
    tasks = [task for task in by_importance(state.tasks) if task.default_seconds and task.trials]
    rows = -(-len(tasks) // _COLUMNS)
    height = _HEADING + max(30.0, rows * (_PANEL_HEIGHT + _GAP) - _GAP)
    chart = Drawing(_WIDTH, height, "Best time so far of each task, relative to the untuned kernel")
    chart.shapes += [
        Label(0, 16, chart.title, 15, bold=True),
        Line(((0, 34), (22, 34)), _TUNED, 2),
        Label(28, 38, "best so far, over the task's trials", colour=_FAINT),
        Dot(284, 34, 4, _BETTER),
        Label(294, 38, "what is kept, compared with the untuned kernel in turns", colour=_FAINT),
    ]
    if not tasks:
        chart.shapes.append(Label(0, _HEADING + 14, "No task was tried.", colour=_FAINT))
        return chart
    lowest = _lowest(tasks)
    for number, task in enumerate(tasks):
        x = (number % _COLUMNS) * (_PANEL_WIDTH + _GAP)
        y = _HEADING + (number // _COLUMNS) * (_PANEL_HEIGHT + _GAP)
        chart.shapes += _panel(task, state, x, y, lowest)
    return chart


def _lowest(tasks: list[TaskState]) -> float:
    """Return where the panels' axis begins: a tenth below the best of all, so that all compare."""
    best = min(min([task.best_ratio, *_relative(task).values()]) for task in tasks)
    return max(0.0, min(0.9, floor(best * 10 - 0.5) / 10))


def _relative(task: TaskState) -> dict[int, float]:
    """Return the best so far by trial. The default counts: no best is worse than that.

    A comparison may show that a best was not as fast as it was measured at first; what was measured
    after it is then compared with a slower one. The curve stays where it was, and the dot at its
    end tells.
    """
    default, best = task.default_seconds or 1.0, 1.0
    found: dict[int, float] = {}
    for trial, seconds in task.history:
        best = found[trial] = min(best, seconds / default)
    return found


def _panel(task: TaskState, state: TuningState, x: float, y: float, lowest: float) -> list[Shape]:
    left, right = x + _LEFT, x + _PANEL_WIDTH - _RIGHT
    top, bottom = y + _ABOVE, y + _PANEL_HEIGHT - _BELOW
    pixels = (bottom - top) / (1.0 - lowest)

    def place(trial: float, ratio: float) -> tuple[float, float]:
        down = top + (1.0 - max(ratio, lowest)) * pixels
        return left + (right - left) * trial / task.trials, min(max(down, top), bottom)

    points = [place(0, 1.0)]
    for trial, ratio in _relative(task).items():
        points += [(place(trial, ratio)[0], points[-1][1]), place(trial, ratio)]
    points.append((right, points[-1][1]))
    failed = task.failures.total()
    about = f"{texts.percent(share(task, state))} of the time"
    about += f", {texts.plural(failed, 'trial')} failed" if failed else ""
    gain = "default kept" if task.best_ratio >= 1.0 else texts.change(task.best_ratio)
    shapes: list[Shape] = [
        Label(x, y + 11, fitting(task.kernel, _PANEL_WIDTH - 95), bold=True, hover=task.workload),
        Label(
            x + _PANEL_WIDTH,
            y + 11,
            gain,
            anchor="end",
            bold=True,
            colour=_colour_of_gain(task.best_ratio),
        ),
        Label(x, y + 25, about, 10, colour=_FAINT),
    ]
    for ratio in (1.0, (1.0 + lowest) / 2, lowest):
        height = place(0, ratio)[1]
        shapes += [
            Line(((left, height), (right, height)), _GRID if ratio < 1.0 else _DEFAULT),
            Label(left - 6, height + 4, f"{ratio:.0%}", 10, "end", _AXIS),
        ]
    shapes += [
        Label(left, bottom + 15, "0", 10, "middle", _AXIS),
        Label(right, bottom + 15, texts.plural(task.trials, "trial"), 10, "end", _AXIS),
        Line(tuple(points), _TUNED, 2),
        Dot(*place(task.trials, task.best_ratio), 4, _colour_of_gain(task.best_ratio)),
    ]
    return shapes


def _legend(x: float, y: float, colour: str, text: str) -> list[Shape]:
    return [Box(x, y - 9, 14, _BAR, colour), Label(x + 20, y, text, colour=_FAINT)]


def _colour_of_gain(ratio: float) -> str:
    return _BETTER if ratio < 1.0 else _FAINT
