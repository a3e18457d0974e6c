"""What every search for a faster kernel offers: candidates are asked for, and results told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autoglm_tvm.schedules.search.space import Config


class Search(Protocol):
    """The search of one task: an ask/tell loop that leaves building and measuring to others.

    A resume is a new search that is told the old results before it is asked for anything.
    """

    @property
    def best(self) -> tuple[Config, float] | None:
        """Fastest configuration so far and its seconds per call; None before the first success."""
        ...

    @property
    def curve(self) -> Sequence[float]:
        """Best seconds per call after each trial that was told; infinite before a success."""
        ...

    @property
    def spent(self) -> bool:
        """True when no configuration is left that was not asked for or told."""
        ...

    def ask(self, count: int) -> list[Config]:
        """Return up to `count` configurations, the default first of all, none of them twice."""
        ...

    def tell(self, results: Sequence[tuple[Config, float | None]]) -> None:
        """Take seconds per call of configurations, None for one that failed or was wrong.

        A configuration that is told again replaces what was told of it before, and is no new
        trial: a repeated measurement, or a check of its results that failed later. What is not of
        the search's space, such as an old record, is left out.
        """
        ...

    def expected_gain(self) -> float:
        """Share of the best seconds, 0 to 1, that the next batch is expected to save.

        1 as long as nothing is known, 0 when the search is spent. Cheap: it is called for every
        task before every batch.
        """
        ...
