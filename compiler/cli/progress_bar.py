"""A bar for work that is counted, and a spinner for work that is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoglm_tvm.compiler.cli.interrupt import end_if_interrupted

# What counted work says of itself: "layer 3 of 54: conv1", "sample 12 of 80".
_COUNTED = re.compile(r"(?P<what>.*?)\s*\b(?P<done>\d+) of (?P<total>\d+)\b")


@contextmanager
def show_progress(first: str, model: str) -> Iterator[Callable[[str], None]]:
    """Show `first` on standard error, then each text that what is yielded is called with.

    The model's name stands behind what is not counted.

    A text with ``3 of 54`` in it moves a bar. Ends the command at the next text if Ctrl-C was
    swallowed before.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_interactive:
        # Into a file or a pipe, a bar would write an empty line.
        yield lambda _text: end_if_interrupted()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{first} {model}", total=None)

        def report(text: str) -> None:
            end_if_interrupted()
            counted = _COUNTED.match(text)
            done, total = (int(counted["done"]), int(counted["total"])) if counted else (0, None)
            text = text if counted else f"{text} {model}"
            progress.update(task, description=text, completed=done, total=total)

        yield report
