"""One line that says which stage a command is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoglm_tvm.compiler.cli.interrupt import end_if_interrupted


@contextmanager
def show_stages(first: str, model: str) -> Iterator[Callable[[str], None]]:
    """Show `first`, then each stage that what is yielded is called with, beside the model's name.

    Ends the command at a stage's beginning if Ctrl-C was swallowed before.
    """
    from rich.console import Console

    with Console(stderr=True).status(first) as status:

        def report(stage: str) -> None:
            end_if_interrupted()
            status.update(f"{stage} {model}")

        yield report
