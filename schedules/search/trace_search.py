"""MetaSchedule's candidates behind the protocol that the budget knows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.search.metaschedule import MetaScheduleSearch
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    from tvm import tirx


class TraceSearch:
    """The search of one kernel for which our own rules have no knobs; see `Search`.

    Its configurations are traces. The default is not among them: it is what our rules do.
    """

    def __init__(
        self, function: tirx.PrimFunc, target: Target, *, seed: int, max_trials: int
    ) -> None:
        self.curve: list[float] = []
        self._traces = MetaScheduleSearch(function, target, seed=seed, max_trials=max_trials)
        self._results: dict[str, tuple[dict[str, Any], float | None]] = {}
        self._dry = bool(self._traces.refused)

    @property
    def best(self) -> tuple[dict[str, Any], float] | None:
        """See `Search.best`."""
        right = [(config, seconds) for config, seconds in self._results.values() if seconds]
        return min(right, key=lambda result: result[1], default=None)

    @property
    def spent(self) -> bool:
        """See `Search.spent`."""
        return self._dry

    def ask(self, count: int) -> list[dict[str, Any]]:
        """See `Search.ask`; without the default."""
        if self._dry:
            return []
        asked = [config for config in self._traces.ask(count) if _key(config) not in self._results]
        self._dry = not asked
        return asked

    def tell(self, results: Sequence[tuple[dict[str, Any], float | None]]) -> None:
        """See `Search.tell`."""
        results = [result for result in results if self._traces.is_of_kernel(result[0])]
        new = [result for result in results if _key(result[0]) not in self._results]
        for config, seconds in results:
            self._results[_key(config)] = (config, seconds)
        for _, seconds in new:
            best = self.curve[-1] if self.curve else math.inf
            self.curve.append(min(best, seconds or math.inf))
        if self.curve and len(new) < len(results):
            # What was told again may have been wrong: the best that is left counts.
            self.curve[-1] = self.best[1] if self.best else math.inf
        self._traces.tell(new)

    def expected_gain(self) -> float:
        """See `Search.expected_gain`: as Ansor does, the more was tried, the less is hoped for."""
        return 0.0 if self._dry else 1.0 / (1 + len(self.curve) / 16)


def _key(config: dict[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)
