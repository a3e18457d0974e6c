"""Predicts how fast a configuration is, from what was measured of it and of others.

Gradient-boosted trees over the features of loop nests, as in Chen et al., "Learning to Optimize
Tensor Programs" (NeurIPS 2018), section 3; XGBoost is Chen and Guestrin (KDD 2016). One model
serves all tasks of a family: what it learnt of the first workload orders the candidates of the
second. The loss is the squared error: the rank loss of the paper took half as many trials again on
the synthetic tasks of tests/schedules/search, and says nothing about what is left to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Features = Mapping[str, float]
Prior = Callable[[Features], float]

# Samples below which trees say less than the prior does.
MIN_SAMPLES = 16
# log(seconds / default's seconds) of whatever fails or is slower: by how much does not matter.
WORST = 1.0
_ROUNDS = 80
_PARAMETERS: dict[str, Any] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_bin": 64,
    "max_depth": 6,
    "eta": 0.15,
    "min_child_weight": 1,
    "lambda": 1.0,
    "nthread": 1,
    "seed": 0,
    "base_score": 0.0,
    "verbosity": 0,
}


class CostModel:
    """Predicts log(seconds / seconds of the task's default); lower is faster, 0 the default.

    Parameters
    ----------
    prior
        An estimate of the same number from the features alone, used until there are samples, and
        the base that the trees then correct; None for none.
    """

    def __init__(self, prior: Prior | None = None) -> None:
        self.prior = prior
        self._samples: dict[int, tuple[list[Features], list[float]]] = {}
        self._columns: dict[str, int] = {}
        self._booster: Any = None
        self._stale = False

    @property
    def ready(self) -> bool:
        """Whether it has enough samples to be better than its prior."""
        return sum(len(targets) for _, targets in self._samples.values()) >= MIN_SAMPLES

    @property
    def informed(self) -> bool:
        """Whether its predictions mean anything at all: by samples or by a prior."""
        return self.ready or self.prior is not None

    def add_task(self) -> int:
        """Return a handle by which one task hands in its samples."""
        self._samples[len(self._samples)] = ([], [])
        return len(self._samples) - 1

    def learn(self, task: int, rows: Sequence[Features], log_ratios: Sequence[float]) -> None:
        """Replace the samples of a task; training waits for the next prediction.

        Give `WORST` for what failed; what is slower than that counts as that.
        """
        self._samples[task] = (list(rows), [min(ratio, WORST) for ratio in log_ratios])
        self._stale = True

    def predict(self, rows: Sequence[Features]) -> np.ndarray:
        """Predict log ratios, float64 [len(rows)]; zeros if it is not informed."""
        import numpy as np

        if not rows:
            return np.zeros(0)
        base = self._base(rows)
        if not self.ready:
            return base
        if self._stale:
            self._train()
        import xgboost

        matrix = xgboost.DMatrix(self._matrix(rows), base_margin=base, nthread=1)
        return self._booster.predict(matrix).astype(np.float64)

    def _train(self) -> None:
        import numpy as np
        import xgboost

        rows = [row for rows, _ in self._samples.values() for row in rows]
        targets = np.array([one for _, targets in self._samples.values() for one in targets])
        for row in rows:
            for name in row:
                self._columns.setdefault(name, len(self._columns))
        matrix = xgboost.DMatrix(
            self._matrix(rows), label=targets, base_margin=self._base(rows), nthread=1
        )
        self._booster = xgboost.train(_PARAMETERS, matrix, num_boost_round=_ROUNDS)
        self._stale = False

    def _base(self, rows: Sequence[Features]) -> np.ndarray:
        import numpy as np

        return np.array([self.prior(row) if self.prior else 0.0 for row in rows])

    def _matrix(self, rows: Sequence[Features]) -> np.ndarray:
        """Features as float32 [rows, columns]; NaN, missing for XGBoost, where there is none."""
        import numpy as np

        names = list(self._columns)
        missing = float("nan")
        return np.array([[row.get(name, missing) for name in names] for row in rows], np.float32)
