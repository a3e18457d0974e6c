"""What a person sees while a model is tuned: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.tuning import texts
from autoglm_tvm.compiler.tuning.live_view import LiveView, gain_text, time_text
from autoglm_tvm.compiler.tuning.state import TuningState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

#: Seconds between two pictures of the live display.
REFRESH_SECONDS = 0.25
#: A plain line comes after so many seconds or trials, whichever is first.
LINE_SECONDS = 10.0
LINE_TRIALS = 50


class TuningDisplay:
    """Shows the state of a tuning that it is told by `update`.

    Nothing is drawn between updates: who waits goes on calling `update`, as often as he likes.

    Parameters
    ----------
    console
        Where to; by default standard error, so that standard output stays for results.
    live
        Whether to redraw a table; by default where the console is a terminal that can.
    clock
        Seconds, for tests.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console as RichConsole

        self._console = console or RichConsole(stderr=True)
        if live is None:
            # FORCE_COLOR makes rich take a file for a terminal, which would fill with pictures.
            live = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._is_live = live
        self._clock = clock
        self._live: Live | None = None
        self._state: TuningState | None = None
        self._shown_at: float | None = None
        self._shown_trials = 0
        self._stale = False

    def __enter__(self) -> TuningDisplay:
        """Begin to draw."""
        if self._is_live:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last state and leave it on the screen."""
        try:
            if self._stale:
                self._show()
        finally:
            if self._live is not None:
                self._live.stop()

    def update(self, state: TuningState) -> None:
        """Show a state, unless the last one was shown only just now; cheap."""
        self._state = state
        self._stale = True
        if self._is_due(state):
            self._show()

    def _is_due(self, state: TuningState) -> bool:
        if self._shown_at is None:
            return True
        passed = self._clock() - self._shown_at
        if self._is_live:
            return passed >= REFRESH_SECONDS
        return passed >= LINE_SECONDS or state.trials - self._shown_trials >= LINE_TRIALS

    def _show(self) -> None:
        if self._state is None:
            return
        if self._live is not None:
            self._live.update(LiveView(self._state), refresh=True)
        else:
            # Not by the console, which would wrap it.
            print(plain_line(self._state), file=self._console.file, flush=True)
        self._shown_at = self._clock()
        self._shown_trials = self._state.trials
        self._stale = False


def plain_line(state: TuningState) -> str:
    """Return a state as one line of printable text."""
    unwell = [texts.device(item) for item in state.devices if item.state not in ("ready", "busy")]
    failed = texts.failures(state)
    parts = [
        f"{state.model}: {time_text(state)}",
        f"trials {texts.trials(state)}",
        failed and f"failed {failed}",
        gain_text(state),
        *unwell,
        state.note,
    ]
    line = texts.printable("; ".join(part for part in parts if part))
    return " ".join(line.split())
