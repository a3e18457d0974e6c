"""A task while it is tuned: its search, its untuned kernel, and what waits to be compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoglm_tvm.compiler.tuning.builder import Built
from autoglm_tvm.compiler.tuning.state import TaskState
from autoglm_tvm.compiler.tuning.tasks import TuningTask
from autoglm_tvm.schedules.records import config_text
from autoglm_tvm.schedules.search.search import Search

# Candidates that wait: of thousands only the fastest are ever compared.
_MOST_WAITING = 16


@dataclass(eq=False)
class OpenTask:
    """A task with its search and what the display shows of it.

    Attributes
    ----------
    task, search, state
        Search is None where there is nothing to choose.
    default
        The untuned kernel.
    waiting
        The fastest candidates that were not compared with the default yet, and their seconds, by
        the text of their configuration.
    kept_seconds
        Of the fastest that was confirmed; the default's before there is one.
    """

    task: TuningTask
    state: TaskState
    search: Search | None = None
    default: Built | None = None
    waiting: dict[str, tuple[float, Built]] = field(default_factory=dict)
    kept_seconds: float | None = None

    def wait(self, built: Built, seconds: float) -> None:
        """Let a candidate that ran wait to be compared; the slowest of too many is left out."""
        self.waiting[config_text(built.candidate.config)] = (seconds, built)
        if len(self.waiting) > _MOST_WAITING:
            del self.waiting[max(self.waiting, key=self._seconds)]

    def promising(self, worth: float) -> Built | None:
        """The fastest candidate that was not compared yet, if it is faster than what is kept.

        `worth` is the share of the kept one's time that it has to stay below.
        """
        best = self.kept_seconds or self.state.default_seconds
        text = min(self.waiting, key=self._seconds, default=None)
        if text is None or best is None or self._seconds(text) >= best * worth:
            return None
        return self.waiting[text][1]

    def _seconds(self, text: str) -> float:
        return self.waiting[text][0]
