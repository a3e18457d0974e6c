"""The live display of a tuning as something that rich renders: as much as fits the terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from autoglm_tvm.compiler.tuning import texts
from autoglm_tvm.compiler.tuning.progress import (
    by_importance,
    left_by_limit,
    left_by_rate,
    share,
    summed_ratio,
    time_shares,
)
from autoglm_tvm.compiler.tuning.state import DeviceState, TaskState, TuningState
from autoglm_tvm.compiler.tuning.task_table import task_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_LABEL = 9
_MOST_DEVICES = 6
#: Without a terminal that says its height.
_HEIGHT = 24
_DEVICE_STYLES = {"busy": "green", "cooling": "yellow", "lost": "red", "quarantined": "bold red"}


class LiveView:
    """One picture of a state, cut to the console's width and height."""

    def __init__(self, state: TuningState) -> None:
        self._state = state

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the tasks that fit above the totals."""
        height = options.height or options.max_height or _HEIGHT
        for line in view_lines(self._state, options.max_width, height):
            yield from console.render(line, options.update(no_wrap=True, overflow="crop"))


def view_lines(state: TuningState, width: int, height: int) -> list[Text]:
    """Return the display's lines: at most ``height``, each at most ``width`` characters."""
    heading = Text(texts.end_cut(f"tuning {state.model} for {state.target}", width), style="bold")
    below = [*_devices(state, width), *_totals(state, width)]
    # One line stays free: the cursor's.
    tasks = _tasks(state, width, height - len(below) - 2)
    return [heading, *tasks, *below][: max(1, height - 1)]


def _tasks(state: TuningState, width: int, room: int) -> list[Text]:
    tasks = by_importance(state.tasks)
    if not tasks or room < 2:
        return []
    shown = tasks if len(tasks) < room else tasks[: max(0, room - 2)]
    header, *lines = task_lines(shown, state, width)
    found = [Text(header, style="underline")]
    found += [Text(line, style=_style(task)) for line, task in zip(lines, shown, strict=True)]
    hidden = tasks[len(shown) :]
    if hidden:
        part = sum(share(task, state) or 0.0 for task in hidden)
        more = f"and {len(hidden)} more, {texts.percent(part)} of the time together"
        found.append(Text(texts.end_cut(more, width), style="dim"))
    return found


def _style(task: TaskState) -> str:
    return "dim" if task.done else "green" if task.best_ratio < 1.0 else ""


def _devices(state: TuningState, width: int) -> list[Text]:
    if len(state.devices) <= _MOST_DEVICES:
        return [
            _line("device", texts.device(item), width, _DEVICE_STYLES.get(item.state, ""))
            for item in state.devices
        ]
    # Those in trouble are named; of the others a number will do.
    ill = [item for item in state.devices if item.state in ("lost", "quarantined", "cooling")]
    lines = [_line("devices", _device_counts(state.devices), width)]
    return lines + [
        _line("device", texts.device(item), width, _DEVICE_STYLES[item.state])
        for item in ill[: _MOST_DEVICES - 1]
    ]


def _device_counts(devices: list[DeviceState]) -> str:
    states = dict.fromkeys(item.state for item in devices)
    counts = [f"{sum(item.state == name for item in devices)} {name}" for name in states]
    return f"{len(devices)}: {', '.join(counts)}"


def _totals(state: TuningState, width: int) -> list[Text]:
    done = sum(bool(task.done) for task in state.tasks)
    lines = [
        _line("tasks", f"{len(state.tasks)}, {done} of them done", width),
        _line("trials", texts.trials(state), width),
        *_lines("failed", texts.failures(state), width, "red"),
        _line("time", time_text(state), width),
        _line("spent on", spent_text(state), width),
        _line("gain", gain_text(state), width, "bold"),
    ]
    if state.note:
        lines += _lines("now", " ".join(texts.printable(state.note).split()), width, "yellow")
    return lines


def time_text(state: TuningState) -> str:
    """Return how long the session lasts, and how long it still will."""
    left = [texts.duration(state.elapsed_s)]
    by_rate, by_limit = left_by_rate(state), left_by_limit(state)
    if by_rate is not None:
        left.append(f"{texts.duration(by_rate)} left at this rate")
    if by_limit is not None:
        left.append(f"{texts.duration(by_limit)} to the limit")
    return ", ".join(left)


def spent_text(state: TuningState) -> str:
    """Return where the wall time went."""
    shares = time_shares(state)
    return ", ".join(f"{name} {part:.0%}" for name, part in shares.items()) or texts.NOTHING


def gain_text(state: TuningState) -> str:
    """Return the model's gain so far, as the kernels' times say."""
    ratio = summed_ratio(state)
    if ratio is None:
        return "not known before the untuned kernels are measured"
    improved = sum(task.best_ratio < 1.0 for task in state.tasks)
    return (
        f"kernels' time {texts.change(ratio)} (estimate), {texts.plural(improved, 'kernel')} faster"
    )


def _lines(label: str, text: str, width: int, style: str) -> list[Text]:
    """Return no line for no text, and two for a long one."""
    parts = textwrap.wrap(
        text, max(1, width - _LABEL), max_lines=2, placeholder=" ..", break_on_hyphens=False
    )
    return [_line("" if number else label, part, width, style) for number, part in enumerate(parts)]


def _line(label: str, text: str, width: int, style: str = "") -> Text:
    cut = texts.end_cut(text, width - _LABEL)
    return Text.assemble((f"{label:{_LABEL}}", "dim"), (cut, style))
